package testenv

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// ChromiumWithoutCookies is Chromium where the person has forbidden all cookies.
func ChromiumWithoutCookies(t testing.TB, o BrowserOptions) *Browser {
	t.Helper()
	path, profile := Need(t, "chromium", "chromium")[0], Dir(t)
	preferences, err := json.Marshal(map[string]any{
		"profile": map[string]any{"default_content_setting_values": map[string]any{"cookies": 2}},
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
	o.Width, o.Height = 1280, 800
	allocator, stop := chromedp.NewExecAllocator(context.Background(), browserFlags(path, profile, o)...)
	t.Cleanup(stop)
	return newTab(allocator, t, o, chromedp.WithErrorf(func(string, ...any) {}))
}

// InFrame evaluates a script that gives a text, in the first frame of the page whose address contains part, whatever
// process the frame is in. It sees the frame's document, but none of its script's variables. The test fails when there is
// no such frame in time.
func (b *Browser) InFrame(part, script string) string {
	b.t.Helper()
	var value string
	b.wait("a frame at "+part, func(ctx context.Context) (err error) {
		value, err = inFrame(ctx, part, script)
		return err
	})
	return value
}

// WaitFrameText waits until a frame whose address contains part shows the text.
func (b *Browser) WaitFrameText(part, text string) {
	b.t.Helper()
	b.wait(fmt.Sprintf("the text %q in a frame at %s", text, part), func(ctx context.Context) error {
		seen, err := inFrame(ctx, part, "document.body?.innerText ?? ''")
		if err == nil && !strings.Contains(seen, text) {
			err = fmt.Errorf("the frame says %q", seen)
		}
		return err
	})
}

func inFrame(ctx context.Context, part, script string) (string, error) {
	tree, err := chromedp.Call(ctx, page.GetFrameTree, cdp.Empty{})
	if err != nil {
		return "", err
	}
	for _, child := range tree.FrameTree.ChildFrames {
		if strings.Contains(child.Frame.URL, part) {
			return inFrameOf(ctx, child.Frame.ID, script)
		}
	}
	targets, err := chromedp.Targets(ctx)
	if err != nil {
		return "", err
	}
	for _, target := range targets {
		if target.Type == "iframe" && strings.Contains(target.URL, part) {
			own, detach := chromedp.NewContext(ctx, chromedp.WithTargetID(target.TargetID), chromedp.WithDetachOnCancel())
			defer detach()
			return inFrameOf(own, cdp.FrameID(target.TargetID), script)
		}
	}
	return "", errors.New("there is none")
}

func inFrameOf(ctx context.Context, frame cdp.FrameID, script string) (string, error) {
	if err := chromedp.Do(ctx); err != nil { // a context of its own attaches here
		return "", err
	}
	world, err := chromedp.Call(ctx, page.CreateIsolatedWorld, page.CreateIsolatedWorldParams{FrameID: frame})
	if err != nil {
		return "", err
	}
	got, err := chromedp.Call(ctx, runtime.Evaluate, runtime.EvaluateParams{
		Expression: script, ContextID: world.ExecutionContextID, ReturnByValue: new(true), AwaitPromise: new(true),
	})
	switch {
	case err != nil:
		return "", err
	case got.ExceptionDetails != nil:
		return "", errors.New(thrown(got.ExceptionDetails))
	}
	var value string
	return value, json.Unmarshal(got.Result.Value, &value)
}
