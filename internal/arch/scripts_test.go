package arch

import (
	"io/fs"
	"strings"
	"testing"
)

// lacking reports which beginnings of lines a file lacks.
func lacking(t testing.TB, name string, wanted ...string) []string {
	t.Helper()
	text, err := fs.ReadFile(root(), name)
	if err != nil {
		t.Fatal(err)
	}
	var missing []string
	for _, w := range wanted {
		found := false
		for line := range strings.Lines(string(text)) {
			found = found || strings.HasPrefix(strings.TrimSpace(line), w)
		}
		if !found {
			missing = append(missing, name+": no line begins with "+w)
		}
	}
	return missing
}

func TestCON03_CIRunsEveryTestWithTheRaceDetector(t *testing.T) {
	report(t, lacking(t, ".ci/run", "export CI=true", "make test ||"))
	report(t, lacking(t, "Makefile", "scripts/test.sh"))
	report(t, lacking(t, "scripts/test.sh", "race=(-race)", "CGO_ENABLED=${race:+1} go test"))
	if missing := lacking(t, ".ci/run", "make nothing"); len(missing) != 1 {
		t.Error("a line that is not there was found")
	}
}

func TestScripts_CIRequiresEveryPeer(t *testing.T) {
	report(t, lacking(t, "scripts/test.sh", "export SALLYPORT_TEST_REQUIRE="))
}
