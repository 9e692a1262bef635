package testenv

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/chromedp/cdproto/audits"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
)

// browserNotes collect what the page complains about.
type browserNotes struct {
	mu                 sync.Mutex
	violations, errors []string
}

// listen runs on the goroutine that reads the browser's messages, so it only takes notes.
func (n *browserNotes) listen(event any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch e := event.(type) {
	case *audits.EventIssueAdded:
		if d := e.Issue.Details; d != nil && d.ContentSecurityPolicyIssueDetails != nil {
			csp := d.ContentSecurityPolicyIssueDetails
			n.violations = append(n.violations, fmt.Sprintf("%s %s", csp.ViolatedDirective, csp.BlockedURL))
		}
	case *cdplog.EventEntryAdded:
		if e.Entry.Level != cdplog.EntryLevelError {
			return
		}
		if strings.Contains(e.Entry.Text, "Content Security Policy") {
			n.violations = append(n.violations, e.Entry.Text)
			return
		}
		n.errors = append(n.errors, e.Entry.Text+" "+e.Entry.URL)
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError {
			n.errors = append(n.errors, fmt.Sprint("console.error ", consoleText(e.Args)))
		}
	case *runtime.EventExceptionThrown:
		n.errors = append(n.errors, thrown(e.ExceptionDetails))
	}
}

func consoleText(arguments []*runtime.RemoteObject) string {
	var words []string
	for _, a := range arguments {
		words = append(words, string(a.Value)+a.Description)
	}
	return strings.Join(words, " ")
}

func (n *browserNotes) list(which func(*browserNotes) []string) []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(which(n))
}

func thrown(d *runtime.ExceptionDetails) string {
	if d.Exception != nil {
		return d.Text + " " + d.Exception.Description
	}
	return d.Text
}
