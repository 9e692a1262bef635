package ldap

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"time"

	goldap "github.com/go-ldap/ldap/v3"
)

// conn is one connection, used by one goroutine at a time.
type conn struct {
	ldap    *goldap.Conn
	wire    *framed
	raw     net.Conn // under TLS; closing it unblocks everything above
	server  *server
	timeout time.Duration
	// broken: not to be used again.
	broken bool
	// idle is since when it has been in the pool.
	idle time.Time
}

// close ends the connection at once. TCP goes first, so that nothing waits for a server that has stopped reading.
func (c *conn) close() {
	_ = c.raw.Close()
	_ = c.ldap.Close()
}

// do runs one request within the operation's time limit and the caller's context. The library takes no context, so the
// end of ours closes the connection, which wakes the library up.
func (c *conn) do(parent context.Context, request func() error) error {
	ctx, cancel := context.WithTimeout(parent, c.timeout)
	defer cancel()
	c.wire.allow()
	stop := context.AfterFunc(ctx, func() { _ = c.raw.Close() })
	err := request()
	cut := !stop()
	c.broken = c.broken || cut
	if err == nil {
		c.server.answered()
		return nil
	}
	if cut {
		hung := parent.Err() == nil
		if hung {
			c.server.hung()
		}
		c.broken = true
		return &trouble{server: c.server.address, hung: hung, err: ctx.Err()}
	}
	err = classify(c.server.address, err)
	if isTrouble(err) {
		c.broken = true
		return err
	}
	c.server.answered()
	return err
}

// query is one search.
type query struct {
	base       string
	scope      int
	filter     string
	attributes []string
	// limit is the size limit; zero means none.
	limit int
}

// request makes a new request: the library writes into the controls of the one it was given.
func (c *conn) request(q query, controls ...goldap.Control) *goldap.SearchRequest {
	seconds := int(math.Ceil(c.timeout.Seconds()))
	return goldap.NewSearchRequest(q.base, q.scope, goldap.NeverDerefAliases, q.limit, seconds, false, q.filter,
		q.attributes, controls)
}

// errTooMany means that more matched than asked for.
var errTooMany = errors.New("more entries than the limit")

// search returns the entries of one search without paging. Continuation references are not followed. More than q.limit
// entries are errTooMany.
func (c *conn) search(ctx context.Context, q query) ([]*goldap.Entry, error) {
	entries, _, err := c.searchOnce(ctx, q)
	return entries, err
}

func (c *conn) searchOnce(ctx context.Context, q query, controls ...goldap.Control) (
	entries []*goldap.Entry, answered []goldap.Control, err error,
) {
	err = c.do(ctx, func() error {
		request := c.request(q, controls...)
		request.EnforceSizeLimit = true
		result, err := c.ldap.Search(request)
		if err == nil {
			entries, answered = result.Entries, result.Controls
		}
		return err
	})
	switch {
	case errors.Is(err, goldap.ErrSizeLimitExceeded), isAnswer(err, goldap.LDAPResultSizeLimitExceeded):
		// More may still be on its way to us.
		c.broken = true
		return nil, nil, errTooMany
	case err != nil:
		return nil, nil, fmt.Errorf("search in %q: %w", q.base, err)
	}
	return entries, answered, nil
}

// pageSize stays below the usual server limits (500 in OpenLDAP, 1000 in Active Directory).
const pageSize = 400

// searchAll returns all entries, page by page (RFC 2696), or errTooMany when there are more than most.
func (c *conn) searchAll(ctx context.Context, q query, most int) ([]*goldap.Entry, error) {
	var all []*goldap.Entry
	paging := goldap.NewControlPaging(pageSize)
	for {
		entries, controls, err := c.searchOnce(ctx, q, paging)
		if err != nil {
			return nil, err
		}
		all = append(all, entries...)
		if len(all) > most {
			c.broken = true // the server still holds the rest for us
			return nil, errTooMany
		}
		page, ok := goldap.FindControl(controls, goldap.ControlTypePaging).(*goldap.ControlPaging)
		if !ok || len(page.Cookie) == 0 {
			return all, nil
		}
		if len(entries) == 0 {
			c.broken = true // a server that pages through nothing would do so for ever
			return nil, &trouble{server: c.server.address, err: errors.New("an empty page that is not the last")}
		}
		paging = goldap.NewControlPaging(pageSize)
		paging.SetCookie(page.Cookie)
	}
}
