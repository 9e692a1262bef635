package testenv

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/audits"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/cdproto/storage"
	"github.com/chromedp/chromedp"
)

// browserPatience is how long a browser may take for one step.
const browserPatience = 20 * time.Second

// BrowserOptions say what kind of browser a test wants. The zero value is a light 1280 × 800 window with script on.
type BrowserOptions struct {
	// HostRules maps host names (with * as wildcard) to addresses, such as "sso.example": "127.0.0.1". Names below
	// .localhost reach 127.0.0.1 without a rule.
	HostRules map[string]string
	// Dark asks for the dark colour scheme.
	Dark bool
	// Width and Height of the window in CSS pixels.
	Width, Height int
	// NoScript switches the pages' script off.
	NoScript bool
	// BlockThirdParty refuses third-party cookies.
	BlockThirdParty bool
	// Trust are certificates accepted although no authority signed them.
	Trust []*x509.Certificate
	// Language is sent as Accept-Language; empty leaves the browser's own (en-US).
	Language string
}

// Browser is a tab of a running Chromium. Every method fails the test when the step does not succeed in time. A Browser
// belongs to one goroutine.
type Browser struct {
	t       testing.TB
	ctx     context.Context
	options BrowserOptions
	notes   *browserNotes
}

// Chromium starts Debian's Chromium, headless and with an empty profile, until the test ends. Where it is not installed
// the test is skipped (see Need).
func Chromium(t testing.TB, o BrowserOptions) *Browser {
	t.Helper()
	path := Need(t, "chromium", "chromium")[0]
	if o.Width == 0 {
		o.Width = 1280
	}
	if o.Height == 0 {
		o.Height = 800
	}
	profile := Dir(t)
	writePreferences(t, profile, o)
	allocator, stop := chromedp.NewExecAllocator(context.Background(), browserFlags(path, profile, o)...)
	t.Cleanup(stop)
	// The library's own log is about events it does not know, and goes on after the test, where t.Logf panics.
	quiet := chromedp.WithErrorf(func(string, ...any) {})
	return newTab(allocator, t, o, quiet)
}

// newTab opens a tab in the browser of parent, starting one when there is none yet.
func newTab(parent context.Context, t testing.TB, o BrowserOptions, extra ...chromedp.ContextOption) *Browser {
	t.Helper()
	b := &Browser{t: t, options: o, notes: &browserNotes{}}
	extra = append(extra, chromedp.WithListener(b.notes.listen))
	ctx, cancel := chromedp.NewContext(parent, extra...)
	b.ctx = ctx
	t.Cleanup(cancel)
	// The first call starts the browser and binds its life to the context, so it gets no deadline of its own.
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("start chromium: %v", err)
	}
	browserCall(b, audits.Enable, cdp.Empty{})
	b.Viewport(o.Width, o.Height)
	b.SetScheme(o.Dark)
	if o.NoScript {
		browserCall(b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	}
	if o.Language != "" {
		agent := browserRead[string](b, "navigator.userAgent")
		browserCall(b, emulation.SetUserAgentOverride,
			emulation.SetUserAgentOverrideParams{UserAgent: agent, AcceptLanguage: o.Language})
	}
	return b
}

// NewTab opens another tab with the same cookies.
func (b *Browser) NewTab() *Browser {
	b.t.Helper()
	return newTab(b.ctx, b.t, b.options)
}

// NewContext opens a tab with a cookie jar of its own, as another person's browser would have.
func (b *Browser) NewContext() *Browser {
	b.t.Helper()
	return newTab(b.ctx, b.t, b.options, chromedp.WithNewBrowserContext())
}

// Open goes to an address and waits until the page has loaded. Where the page that is being left goes on by itself at
// the same moment, and so wins, it tries again.
func (b *Browser) Open(address string) {
	b.t.Helper()
	var refused error
	b.wait("the page "+address, func(ctx context.Context) error {
		err := chromedp.Do(ctx, chromedp.Navigate(address))
		var load *chromedp.LoadError
		if errors.As(err, &load) && load.ErrorText == "net::ERR_ABORTED" {
			return err
		}
		refused = err
		return nil
	})
	if refused != nil {
		b.t.Fatalf("open %s: %v", address, refused)
	}
}

// Back presses the browser's Back button and waits until the page has loaded.
func (b *Browser) Back() {
	b.t.Helper()
	b.do("back", chromedp.NavigateBack())
}

// Reload loads the page again.
func (b *Browser) Reload() {
	b.t.Helper()
	b.do("reload", chromedp.Reload())
}

// SetScheme switches between the light and the dark colour scheme. Motion is always reduced, so that nothing moves
// while a test looks.
func (b *Browser) SetScheme(dark bool) {
	b.t.Helper()
	scheme := "light"
	if dark {
		scheme = "dark"
	}
	browserCall(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: scheme},
		{Name: "prefers-reduced-motion", Value: "reduce"},
	}})
}

// Viewport sets the size of the page in CSS pixels.
func (b *Browser) Viewport(width, height int) {
	b.t.Helper()
	b.do("set the viewport", chromedp.EmulateViewport(int64(width), int64(height)))
}

// URL is the address of the page.
func (b *Browser) URL() string { b.t.Helper(); return browserRead[string](b, "location.href") }

// Title is the title of the page.
func (b *Browser) Title() string { b.t.Helper(); return browserRead[string](b, "document.title") }

// Text is the text of the page as it can be seen.
func (b *Browser) Text() string {
	b.t.Helper()
	return browserRead[string](b, "document.body.innerText")
}

// HTML is the document as it is now.
func (b *Browser) HTML() string {
	b.t.Helper()
	return browserRead[string](b, "document.documentElement.outerHTML")
}

// Eval evaluates a script in the page, waits for its promise and returns the value as encoding/json decodes it. It works
// with NoScript too.
func (b *Browser) Eval(script string) any { b.t.Helper(); return browserRead[any](b, script) }

// Cookies are all cookies of this browser context, whatever their host.
func (b *Browser) Cookies() []*network.Cookie {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, browserPatience)
	defer cancel()
	jar := storage.GetCookiesParams{BrowserContextID: chromedp.FromContext(b.ctx).BrowserContextID}
	got, err := chromedp.CallBrowser(ctx, storage.GetCookies, jar)
	if err != nil {
		b.t.Fatalf("read the cookies: %v", err)
	}
	return got.Cookies
}

// Cookie is the value of the first cookie of that name, and whether there is one.
func (b *Browser) Cookie(name string) (string, bool) {
	b.t.Helper()
	for _, c := range b.Cookies() {
		if c.Name == name {
			return c.Value, true
		}
	}
	return "", false
}

// Screenshot writes the whole page, also what is below the fold, as a PNG file.
func (b *Browser) Screenshot(file string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, browserPatience)
	defer cancel()
	picture, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
	if err != nil {
		b.t.Fatalf("screenshot: %v", err)
	}
	if err := os.WriteFile(file, picture, 0o644); err != nil { //nolint:gosec // meant to be looked at
		b.t.Fatal(err)
	}
}

// WaitURL waits until the address of the page contains part.
func (b *Browser) WaitURL(part string) {
	b.t.Helper()
	b.wait("the address to contain "+part, func(ctx context.Context) error {
		at, err := chromedp.Run(ctx, chromedp.Evaluate[string]("location.href"))
		if err == nil && !strings.Contains(at, part) {
			err = fmt.Errorf("it is %s", at)
		}
		return err
	})
}

// WaitText waits until the page shows the text.
func (b *Browser) WaitText(text string) {
	b.t.Helper()
	b.wait("the text "+text, func(ctx context.Context) error {
		seen, err := chromedp.Run(ctx, chromedp.Evaluate[string]("document.body?.innerText ?? ''"))
		if err == nil && !strings.Contains(seen, text) {
			err = fmt.Errorf("the page says %q", seen)
		}
		return err
	})
}

// Violations are the breaches of the Content-Security-Policy so far, in this tab and since it was opened.
func (b *Browser) Violations() []string {
	b.t.Helper()
	b.settle()
	return b.notes.list(func(n *browserNotes) []string { return n.violations })
}

// ConsoleErrors are the errors and exceptions so far that were not breaches of the policy. Chromium counts every answer
// of 400 and above as one.
func (b *Browser) ConsoleErrors() []string {
	b.t.Helper()
	b.settle()
	return b.notes.list(func(n *browserNotes) []string { return n.errors })
}

// settle lets everything the browser has said so far arrive: answers come in order, behind the events before them.
func (b *Browser) settle() { b.t.Helper(); browserCall(b, runtime.Enable, cdp.Empty{}) }

// do runs one step with a deadline.
func (b *Browser) do(what string, steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, browserPatience)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		b.t.Fatalf("%s: %v", what, err)
	}
}

// browserCall sends one protocol command to the tab.
func browserCall[P, R any](b *Browser, command cdp.Command[P, R], params P) R {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, browserPatience)
	defer cancel()
	result, err := chromedp.Call(ctx, command, params)
	if err != nil {
		b.t.Fatalf("%s: %v", command.Method, err)
	}
	return result
}

// browserRead evaluates a script; a page that is just being replaced is asked again.
func browserRead[T any](b *Browser, script string) T {
	b.t.Helper()
	var value T
	b.wait("the value of "+script, func(ctx context.Context) error {
		got, err := chromedp.Run(ctx, chromedp.Evaluate[T](script, chromedp.EvalAwaitPromise))
		value = got
		return err
	})
	return value
}

// wait tries until try succeeds or patience ends; then the test fails with the last reason.
func (b *Browser) wait(what string, try func(ctx context.Context) error) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, browserPatience)
	defer cancel()
	var reason error
	err := Eventually(browserPatience, ctx.Done(), func() error {
		err := try(ctx)
		if err != nil && ctx.Err() == nil {
			reason = err
		}
		return err
	})
	if err != nil {
		b.t.Fatalf("waited for %s: %v", what, reason)
	}
}
