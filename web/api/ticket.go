package api

import (
	"io"
	"net/http"

	"sallyport/broker"
	"sallyport/web/wire"
)

// ticket gives the session of the credential shown a ticket for one WebSocket of its application.
func (a *API) ticket(w http.ResponseWriter, r *http.Request) error {
	if _, err := io.Copy(io.Discard, r.Body); err != nil { // nothing is made for a request that is too large, or broke off
		if wire.TooLarge(err) {
			return err
		}
		return invalid("body_invalid", "body cannot be read")
	}
	app, err := a.application(r)
	if err != nil {
		return err
	}
	p, err := a.caller(r, app)
	if err != nil {
		return err
	}
	shown, err := wire.Credential(r, app)
	if err != nil {
		return err
	}
	ticket, err := a.house.Broker.IssueTicket(r.Context(), shown, p, app)
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, map[string]any{
		"ticket": ticket, "expires_in": int(broker.TicketLife.Seconds()),
	})
}
