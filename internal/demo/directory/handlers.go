package directory

import (
	"slices"
	"strings"

	goldap "github.com/go-ldap/ldap/v3"
	"github.com/jimlambrt/gldap"
)

// routes lists what the server understands; everything else is answered with unwillingToPerform by the library.
func (s *Server) routes() (*gldap.Mux, error) {
	mux, err := gldap.NewMux()
	if err != nil {
		return nil, err
	}
	if err := mux.Bind(s.guarded(s.handleBind)); err != nil {
		return nil, err
	}
	return mux, mux.Search(s.guarded(s.handleSearch))
}

// guarded keeps a panic from ending the process: the library runs handlers outside of its own recovery.
func (s *Server) guarded(handle gldap.HandlerFunc) gldap.HandlerFunc {
	return func(w *gldap.ResponseWriter, r *gldap.Request) {
		defer func() {
			if fault := recover(); fault != nil {
				s.log.Error("demo directory fault", "fault", fault)
			}
		}()
		handle(w, r)
	}
}

func (s *Server) handleBind(w *gldap.ResponseWriter, r *gldap.Request) {
	response := r.NewBindResponse(gldap.WithResponseCode(gldap.ResultInvalidCredentials))
	defer func() { _ = w.Write(response) }()
	s.signIn(r.ConnectionID(), "") // a failed bind leaves the connection anonymous (RFC 4511 section 4.2.1)
	m, err := r.GetSimpleBindMessage()
	if err != nil {
		response.SetResultCode(gldap.ResultProtocolError)
		return
	}
	switch key, err := normal(m.UserName); {
	case m.UserName == "" && m.Password == "":
		response.SetResultCode(gldap.ResultSuccess)
		return
	case m.Password == "":
		// A name without a password proves nothing (RFC 4513 section 5.1.2).
		response.SetResultCode(gldap.ResultUnwillingToPerform)
	case err != nil:
		response.SetResultCode(gldap.ResultInvalidDNSyntax)
	case s.tree.byKey[key] != nil && s.tree.byKey[key].accepts(string(m.Password)):
		s.signIn(r.ConnectionID(), key)
		response.SetResultCode(gldap.ResultSuccess)
		s.log.Info("demo directory bind accepted", "dn", m.UserName)
		return
	}
	s.log.Info("demo directory bind refused", "dn", m.UserName)
}

func (s *Server) handleSearch(w *gldap.ResponseWriter, r *gldap.Request) {
	response := r.NewSearchDoneResponse(gldap.WithResponseCode(gldap.ResultSuccess))
	defer func() { _ = w.Write(response) }()
	m, err := r.GetSearchMessage()
	if err != nil {
		response.SetResultCode(gldap.ResultProtocolError)
		return
	}
	found, code := s.search(s.signedIn(r.ConnectionID()), m)
	if m.SizeLimit > 0 && int64(len(found)) > m.SizeLimit {
		found, code = found[:m.SizeLimit], gldap.ResultSizeLimitExceeded
	}
	for _, e := range found {
		_ = w.Write(r.NewSearchResponseEntry(e.dn, gldap.WithAttributes(e.shown(m.Attributes))))
	}
	response.SetResultCode(code)
}

// search finds what who may see: the service account everything, people themselves, everybody that there is a server.
func (s *Server) search(who string, m *gldap.SearchMessage) ([]*entry, int) {
	if m.BaseDN == "" && m.Scope == gldap.BaseObject {
		root := &entry{attributes: map[string][]string{"objectClass": {"top"}, "supportedLDAPVersion": {"3"}}}
		return []*entry{root}, gldap.ResultSuccess
	}
	if who == "" {
		return nil, gldap.ResultInsufficientAccessRights
	}
	filter, err := goldap.CompileFilter(m.Filter)
	if err != nil {
		return nil, gldap.ResultProtocolError
	}
	key, err := normal(m.BaseDN)
	if err != nil {
		return nil, gldap.ResultInvalidDNSyntax
	}
	all := s.tree.byKey[service].key == who
	top := s.tree.byKey[key]
	if top == nil || (!all && top.key != who) {
		return nil, gldap.ResultNoSuchObject // also what may not be seen
	}
	var found []*entry
	for _, e := range s.tree.entries {
		if (all || e.key == who) && e.within(top, int(m.Scope)) && e.matches(filter) {
			found = append(found, e)
		}
	}
	return found, gldap.ResultSuccess
}

// shown selects attributes (RFC 4511 section 4.5.1.8): none asked for or "*" means all but the operational ones.
func (e *entry) shown(asked []string) map[string][]string {
	shown := map[string][]string{}
	everything := len(asked) == 0 || slices.Contains(asked, "*")
	for name, values := range e.attributes {
		operational := name == "entryUUID" || name == "memberOf"
		named := slices.ContainsFunc(asked, func(a string) bool { return strings.EqualFold(a, name) })
		if named || (everything && !operational) || (operational && slices.Contains(asked, "+")) {
			shown[name] = values
		}
	}
	return shown
}

func (s *Server) signIn(connection int, key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if key == "" {
		delete(s.bound, connection)
		return
	}
	s.bound[connection] = key
}

func (s *Server) signedIn(connection int) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bound[connection]
}

func (s *Server) forget(connection int) { s.signIn(connection, "") }
