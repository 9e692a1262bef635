package testenv

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// findElement is a function of the page: what a person, or a CSS selector, calls an element → where its middle is. Text
// is compared whole; of several elements the first visible one counts.
const findElement = `(what, kinds) => {
  const squeeze = (s) => (s ?? "").replace(/\s+/g, " ").trim();
  const seen = (e) => e && e.getClientRects().length > 0;
  const named = (e) => [e.ariaLabel, e.innerText, e.type === "submit" ? e.value : "",
    ...[...(e.labels ?? [])].map((l) => l.innerText)].some((s) => squeeze(s) === what);
  let found = [...document.querySelectorAll(kinds)].find((e) => seen(e) && named(e));
  if (!found) {
    try { found = [...document.querySelectorAll(what)].find(seen); } catch { /* a text, not a selector */ }
  }
  if (!found) return null;
  found.scrollIntoView({ block: "center", behavior: "instant" });
  const box = found.getBoundingClientRect();
  return { x: box.x + box.width / 2, y: box.y + box.height / 2, disabled: found.disabled === true };
}`

// The kinds of element a person types into, and those they press.
const (
	kindsToFill  = "input:not([type=hidden]), textarea, select"
	kindsToClick = "a[href], button, summary, input, label, [role=button]"
)

type browserPlace struct {
	X, Y     float64
	Disabled bool
}

// Fill clicks into the field with this label (or CSS selector) and types value in place of what is there.
func (b *Browser) Fill(field, value string) {
	b.t.Helper()
	b.press(field, kindsToFill)
	b.do("select what is in "+field, chromedp.Evaluate[chromedp.Void]("document.activeElement.select?.()"))
	if value == "" {
		b.Type(kb.Delete)
		return
	}
	browserCall(b, input.InsertText, input.InsertTextParams{Text: value})
}

// Click presses the link or button with this text or accessible name (or CSS selector), as the mouse does, as soon as it
// is there. What follows is for WaitURL or WaitText to see.
func (b *Browser) Click(what string) {
	b.t.Helper()
	b.press(what, kindsToClick)
}

// Type sends keys to the element that has the focus; see package kb for keys without a letter.
func (b *Browser) Type(keys string) {
	b.t.Helper()
	b.do("type", chromedp.KeyEvent(keys))
}

// press waits for an element and clicks it.
func (b *Browser) press(what, kinds string) {
	b.t.Helper()
	name, err := json.Marshal(what)
	if err != nil {
		b.t.Fatal(err)
	}
	script := fmt.Sprintf("(%s)(%s, %q)", findElement, name, kinds)
	b.wait("something called "+what, func(ctx context.Context) error {
		at, err := chromedp.Run(ctx, chromedp.Evaluate[*browserPlace](script))
		switch {
		case err != nil:
			return err
		case at == nil:
			return errors.New("it is not on the page")
		case at.Disabled:
			return errors.New("it is disabled")
		}
		return chromedp.Do(ctx, chromedp.MouseClickXY(at.X, at.Y))
	})
}

// Focused is the id, or else the name of the kind, of the element that has the focus.
func (b *Browser) Focused() string {
	b.t.Helper()
	return browserRead[string](b, "document.activeElement?.id || document.activeElement?.tagName?.toLowerCase() || ''")
}
