package testenv

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// browserFlags keep the browser to itself: no calls home, no first-run pages, no sandbox (tests run as root).
func browserFlags(path, profile string, o BrowserOptions) []chromedp.ExecAllocatorOption {
	flags := []chromedp.ExecAllocatorOption{
		chromedp.ExecPath(path), chromedp.UserDataDir(profile), chromedp.WindowSize(o.Width, o.Height),
		chromedp.Headless, chromedp.NoSandbox, chromedp.NoFirstRun, chromedp.NoDefaultBrowserCheck,
		chromedp.DisableGPU, chromedp.WSURLReadTimeout(2 * time.Minute),
	}
	for _, name := range []string{
		"disable-quic", "disable-background-networking", "disable-component-update", "disable-sync",
		"disable-default-apps", "disable-extensions", "disable-dev-shm-usage", "disable-breakpad",
		"metrics-recording-only", "use-mock-keychain",
	} {
		flags = append(flags, chromedp.Flag(name, true))
	}
	flags = append(flags, chromedp.Flag("password-store", "basic"), chromedp.Flag("force-color-profile", "srgb"))
	var rules []string
	for host, address := range o.HostRules {
		rules = append(rules, "MAP "+host+" "+address)
	}
	if len(rules) > 0 {
		slices.Sort(rules)
		flags = append(flags, chromedp.Flag("host-resolver-rules", strings.Join(rules, ", ")))
	}
	if len(o.Trust) > 0 {
		var pins []string
		for _, c := range o.Trust {
			sum := sha256.Sum256(c.RawSubjectPublicKeyInfo)
			pins = append(pins, base64.StdEncoding.EncodeToString(sum[:]))
		}
		flags = append(flags, chromedp.Flag("ignore-certificate-errors-spki-list", strings.Join(pins, ",")))
	}
	return flags
}

// writePreferences sets what has no flag. Third-party cookies are decided either way, because what a browser does
// without being told differs between versions.
func writePreferences(t testing.TB, profile string, o BrowserOptions) {
	t.Helper()
	mode := 0 // allowed
	if o.BlockThirdParty {
		mode = 1
	}
	preferences, err := json.Marshal(map[string]any{
		"profile": map[string]any{"cookie_controls_mode": mode, "block_third_party_cookies": o.BlockThirdParty},
	})
	if err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(profile, "Default")
	if err := os.MkdirAll(folder, 0o755); err != nil { //nolint:gosec // a throw-away profile
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "Preferences"), preferences, 0o600); err != nil {
		t.Fatal(err)
	}
}
