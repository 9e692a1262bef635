package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"sallyport/broker"
	"sallyport/broker/sessions"
	"sallyport/identity"
	"sallyport/web/wire"
)

const (
	// feedPage bounds the entries of each kind that one read takes.
	feedPage = 1000
	// streamLook is how often a stream looks for news that nobody told of, and whether its reader may still read.
	streamLook = time.Second
	// streamPause is what a stream leaves between two reads, however much happens.
	streamPause = 250 * time.Millisecond
	// streamBeat is how long a stream is silent at most, so that what stands in between keeps it open.
	streamBeat = 15 * time.Second
	// streamPatience is how long a reader may take for each piece.
	streamPatience = 10 * time.Second
)

// revocations lists what ended before its time, for applications that verify tokens themselves: since a time, or as a
// stream of events (Server-Sent Events) that goes on. It names nobody, ids only.
func (a *API) revocations(w http.ResponseWriter, r *http.Request) error {
	who, err := a.feedReader(r, a.act)
	if err != nil {
		return err
	}
	stream := r.Method == http.MethodGet && strings.Contains(r.Header.Get("Accept"), "text/event-stream")
	since, err := cursor(r.URL.Query().Get("since"))
	if last := r.Header.Get("Last-Event-Id"); stream && last != "" {
		since, err = cursor(last)
	}
	if err != nil {
		return err
	}
	if stream {
		return a.stream(w, r, who, since)
	}
	list, next, err := a.house.Broker.Revocations(r.Context(), wire.Of(r).Snapshot, who.application, since, feedPage)
	if err != nil {
		return err
	}
	out := make([]revocation, 0, len(list))
	for _, e := range list {
		out = append(out, spelledRevocation(e))
	}
	return reply(w, http.StatusOK, map[string]any{"revocations": out, "next": spelledCursor(next)})
}

// asker is how a credential is asked about: as a request that does something, or as a look whether it still holds.
type asker func(ctx context.Context, v broker.Visit, c broker.Credential, app *broker.Application) (identity.Principal, error)

// act is the asker of a request.
func (a *API) act(
	ctx context.Context, v broker.Visit, c broker.Credential, app *broker.Application,
) (identity.Principal, error) {
	return a.house.Broker.Act(ctx, v, c, app, http.MethodGet)
}

// reader is whoever reads entries: those of one application, or all for "".
type reader struct {
	application, account string
	administers          bool
}

// feedReader says whose entries the request may read: those of the one application that its API key opens, or with
// administration of the broker all of them ("").
func (a *API) feedReader(r *http.Request, who asker) (reader, error) {
	f := wire.Of(r)
	wanted := r.URL.Query().Get("application")
	app, err := a.application(r)
	if err != nil {
		return reader{}, err
	}
	c, err := wire.HeaderCredential(r, app)
	if err == nil && c.Carrier == broker.APIKey && wanted != "" {
		p, err := who(r.Context(), f.Visit, c, app)
		if err == nil && !app.Admits(p) {
			err = identity.WithCode("no_role", identity.ErrDenied)
		}
		return reader{application: wanted, account: p.Subject}, err
	}
	self, err := f.Application(broker.Self)
	if err != nil {
		return reader{}, err
	}
	if c, err = wire.Credential(r, self); err != nil {
		return reader{}, err
	}
	p, err := who(r.Context(), f.Visit, c, self)
	if err == nil && !broker.Allows(p, broker.Administer) {
		err = identity.WithCode("no_role", fmt.Errorf("revocations of %q: %w", wanted, identity.ErrDenied))
	}
	return reader{application: wanted, account: p.Subject, administers: true}, err
}

// cursor reads where a list begins: what an earlier answer said (milliseconds since 1970), or a time (RFC 3339); nothing
// is the beginning.
func cursor(raw string) (time.Time, error) {
	if raw == "" {
		return time.Time{}, nil
	}
	if ms, err := strconv.ParseInt(raw, 10, 64); err == nil && ms >= 0 {
		return time.UnixMilli(ms), nil
	}
	at, err := time.Parse(time.RFC3339, raw)
	if err != nil {
		return time.Time{}, invalid("field_invalid", "since is no time")
	}
	return at, nil
}

func spelledCursor(at time.Time) string { return strconv.FormatInt(max(0, at.UnixMilli()), 10) }

// revocation is an entry on the wire.
type revocation struct {
	Type        string `json:"type"`
	ID          string `json:"id"`
	Application string `json:"application"`
	At          string `json:"at"`
	ExpiresAt   string `json:"expires_at"`
	Reason      string `json:"reason"`
	// IssuedBefore is there for cut-offs alone.
	IssuedBefore string `json:"issued_before,omitempty"`
}

func spelledRevocation(e sessions.Revocation) revocation {
	const precise = "2006-01-02T15:04:05.000Z"
	out := revocation{
		Type: e.Kind, ID: e.ID, Application: e.Application, At: e.At.UTC().Format(precise),
		ExpiresAt: e.ExpiresAt.UTC().Format(precise), Reason: e.Reason,
	}
	if broker.IsCutoff(e) {
		out.IssuedBefore = out.At
	}
	return out
}

// stream sends entries as they come, until the reader leaves or may not read any more.
func (a *API) stream(w http.ResponseWriter, r *http.Request, who reader, since time.Time) error {
	leave, err := a.streams.enter(who)
	if err != nil {
		return err
	}
	defer leave()
	s := &feedStream{api: a, w: w, control: http.NewResponseController(w), since: since, sent: map[string]time.Time{}}
	_ = s.control.SetReadDeadline(time.Time{}) // there is nothing to read but that the reader leaves
	tick := time.NewTicker(streamLook)
	defer tick.Stop()
	for {
		heard := a.house.Broker.Heard() // before the read: what comes during it is not missed
		if err := s.look(r); err != nil {
			return err
		}
		if !a.pause(r, nil, streamPause, nil) || !a.pause(r, heard, 0, tick.C) {
			return nil
		}
	}
}

// pause waits for the first of what is there, and reports that neither the reader nor this process leaves.
func (a *API) pause(r *http.Request, heard <-chan struct{}, most time.Duration, tick <-chan time.Time) bool {
	var over <-chan time.Time
	if most > 0 {
		timer := time.NewTimer(most)
		defer timer.Stop()
		over = timer.C
	}
	select {
	case <-r.Context().Done():
		return false
	case <-a.house.Leaving:
		return false
	case <-heard:
	case <-tick:
	case <-over:
	}
	return true
}

// feedStream is one stream of entries.
type feedStream struct {
	api     *API
	w       http.ResponseWriter
	control *http.ResponseController
	// begun: there was an answer; written: there is something to flush.
	begun, written bool
	// since is where the next read begins, sent are the entries after it that were sent already.
	since time.Time
	sent  map[string]time.Time
	// beat is when something was sent last.
	beat time.Time
}

// look sends what is new, under the configuration of now and for what the reader may read now.
func (s *feedStream) look(r *http.Request) error {
	r = s.api.house.Enter(r)
	who, err := s.api.feedReader(r, s.api.house.Broker.Authenticate)
	if err != nil {
		return err
	}
	for more := true; more; {
		list, next, err := s.api.house.Broker.Revocations(r.Context(), wire.Of(r).Snapshot, who.application, s.since, feedPage)
		if err != nil {
			return err
		}
		fresh, err := s.send(list, next)
		if err != nil {
			return err
		}
		more = fresh && next.After(s.since)
		s.advance(next)
	}
	return s.keepOpen()
}

// send writes those entries that were not sent yet, and says whether there were any. The id of each is where a reader goes
// on who heard of this one and no further.
func (s *feedStream) send(list []sessions.Revocation, next time.Time) (bool, error) {
	fresh := false
	for _, e := range list {
		key := strings.Join([]string{e.Kind, e.ID, e.Application, e.At.String()}, " ")
		if _, done := s.sent[key]; done {
			continue
		}
		s.sent[key], fresh = e.At, true
		from := e.At
		if next.Before(from) {
			from = next
		}
		data, err := json.Marshal(spelledRevocation(e))
		if err != nil {
			return fresh, err
		}
		if err := s.write("event: revocation\nid: " + spelledCursor(from) + "\ndata: " + string(data) + "\n\n"); err != nil {
			return fresh, err
		}
	}
	return fresh, nil
}

// advance moves on, and forgets what will not be read again.
func (s *feedStream) advance(next time.Time) {
	if next.After(s.since) {
		s.since = next
	}
	for key, at := range s.sent {
		if at.Before(s.since) {
			delete(s.sent, key)
		}
	}
}

// keepOpen sends what was written; a comment where that is long ago.
func (s *feedStream) keepOpen() error {
	if !s.begun || time.Since(s.beat) >= streamBeat {
		if err := s.write(": \n\n"); err != nil {
			return err
		}
	}
	if !s.written {
		return nil
	}
	s.written = false
	_ = s.control.SetWriteDeadline(time.Now().Add(streamPatience))
	err := s.control.Flush()
	_ = s.control.SetWriteDeadline(time.Time{}) // in HTTP/2 it would end the stream by itself
	return left(err)
}

// left tells a reader that left, or takes nothing, from a fault of ours.
func left(err error) error {
	if err != nil {
		return fmt.Errorf("stream: %w: %w", context.Canceled, err)
	}
	return nil
}

// write sends a piece; each has its own time, since the server's bound is for answers that end.
func (s *feedStream) write(piece string) error {
	if !s.begun {
		s.begun = true
		s.w.Header().Set("Content-Type", "text/event-stream")
		s.w.Header().Set("Cache-Control", "no-store")
		s.w.Header().Set("X-Accel-Buffering", "no") // nginx would keep pieces back
	}
	s.beat, s.written = time.Now(), true
	_ = s.control.SetWriteDeadline(s.beat.Add(streamPatience))
	_, err := s.w.Write([]byte(piece))
	return left(err)
}
