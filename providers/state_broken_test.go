package providers

import (
	"context"
	"errors"
	"testing"

	"sallyport/identity"
)

// closing is a provider that notes that it was closed.
type closing struct {
	silent
	closed bool
}

func (c *closing) Close() error { c.closed = true; return nil }

func brokenAs(as Ability) Provider {
	return Broken(Info{ID: "corp", Type: "kind", Title: "Corp"}, as, errors.New("ca.pem is not there"),
		func(context.Context) (Provider, error) { return nil, errors.New("ca.pem is still not there") })
}

func TestABrokenProviderHasItsDoorAndLetsNobodyIn(t *testing.T) {
	for name, tc := range map[string]struct {
		as  Ability
		try func(*Set) error
	}{
		"a typed password": {AsPassword, func(s *Set) error {
			p, err := s.Password("corp")
			if err != nil {
				return err
			}
			a, err := p.Authenticate(t.Context(), "ada", "secret")
			return nobody(a, err)
		}},
		"going there": {AsRedirect, func(s *Set) error {
			p, err := s.Redirect("corp")
			if err != nil {
				return err
			}
			_, err = p.Begin(t.Context(), Flow{})
			return err
		}},
		"coming back": {AsRedirect, func(s *Set) error {
			p, err := s.Redirect("corp")
			if err != nil {
				return err
			}
			a, err := p.Finish(t.Context(), Flow{}, nil, nil)
			return nobody(a, err)
		}},
		"coming back with a post": {AsPosted, func(s *Set) error {
			p, err := s.Posted("corp")
			if err != nil {
				return err
			}
			a, err := p.Finish(t.Context(), Flow{}, nil, nil)
			return nobody(a, err)
		}},
		"asking for our metadata": {AsPosted, func(s *Set) error {
			p, err := s.Posted("corp")
			if err != nil {
				return err
			}
			_, err = p.ServiceMetadata("", "")
			return err
		}},
		"a token": {AsToken, func(s *Set) error {
			p, err := s.Token("corp")
			if err != nil {
				return err
			}
			a, err := p.VerifyToken(t.Context(), "token")
			return nobody(a, err)
		}},
		"an assertion from elsewhere": {AsToken, func(s *Set) error {
			p, err := s.Token("corp")
			if err != nil {
				return err
			}
			if nonce, application := p.Binding(identity.Assertion{}); nonce+application != "" {
				return errors.New("it is bound to something")
			}
			_, _, once, err := p.Once(identity.Assertion{})
			if !once {
				return errors.New("it may be used again")
			}
			return err
		}},
		"an assertion posted to another": {AsPosted, func(s *Set) error {
			_, _, once, err := s.All()[0].(OnceProvider).Once(identity.Assertion{})
			if !once {
				return errors.New("it may be used again")
			}
			return err
		}},
		"a check": {AsToken, func(s *Set) error {
			return Check(t.Context(), s.All()[0].(Checker))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			set, err := NewSet(brokenAs(tc.as))
			if err != nil {
				t.Fatal(err)
			}
			err = tc.try(set)
			if !errors.Is(err, identity.ErrUnavailable) || identity.CodeOf(err) != CodeUnavailable {
				t.Fatalf("the answer is %v", err)
			}
			if Words(err) != "cannot be opened: ca.pem is not there" {
				t.Errorf("words: %q", Words(err))
			}
			if info := set.All()[0].Info(); info != (Info{ID: "corp", Type: "kind", Title: "Corp"}) {
				t.Errorf("it is called %+v", info)
			}
		})
	}
}

// nobody turns an assertion that should not be into an error of its own.
func nobody(a identity.Assertion, err error) error {
	if a.Identity.Subject != "" {
		return errors.New("an assertion was made")
	}
	return err
}

func TestABrokenProviderHasNoAbilityThatIsNotItsOwn(t *testing.T) {
	for as, abilities := range map[Ability][5]bool{
		AsPassword: {true, false, false, false, true},
		AsRedirect: {false, true, false, false, true},
		AsPosted:   {false, true, true, false, false},
		AsToken:    {false, false, false, true, false},
	} {
		p := brokenAs(as)
		_, password := p.(PasswordProvider)
		_, redirect := p.(RedirectProvider)
		_, posted := p.(PostedProvider)
		_, token := p.(TokenProvider)
		_, again := p.(Refresher)
		if got := [5]bool{password, redirect, posted, token, again}; got != abilities {
			t.Errorf("ability %d: password, redirect, posted, token, refresh are %v, want %v", as, got, abilities)
		}
	}
}

func TestNoAnswerAboutSomebodyIsNoStatementAboutThem(t *testing.T) {
	last := identity.Assertion{Identity: identity.Identity{Subject: "ada", Groups: []string{"viewers"}}}
	for _, as := range []Ability{AsPassword, AsRedirect} {
		r := brokenAs(as).(Refresher)
		again, err := r.Refresh(t.Context(), last)
		if !errors.Is(err, identity.ErrUnavailable) || len(again.Identity.Groups) != 1 {
			t.Errorf("ability %d: %+v, %v", as, again, err)
		}
	}
}

func TestABrokenProviderIsTriedAgain(t *testing.T) {
	var (
		opened *closing
		err    = errors.New("ca.pem holds no certificate")
	)
	p := Broken(Info{ID: "corp"}, AsPassword, errors.New("ca.pem is not there"), func(context.Context) (Provider, error) {
		if err != nil {
			return nil, err
		}
		opened = &closing{}
		return opened, nil
	})
	set, setErr := NewSet(p, &silent{Info{ID: "local"}})
	if setErr != nil {
		t.Fatal(setErr)
	}
	if set.Mended(t.Context()) {
		t.Fatal("mended though it cannot be opened")
	}
	if got := BrokenBy(p); !errors.Is(got, err) {
		t.Errorf("what is wrong now is not told: %v", got)
	}
	err = nil
	if !set.Mended(t.Context()) {
		t.Fatal("not mended though it can be opened")
	}
	if !opened.closed {
		t.Error("what was opened to see whether it can be is left open")
	}
	if BrokenBy(p) == nil {
		t.Error("the stand-in says that it is the real one")
	}
}

func TestAWholeSetHasNothingToMend(t *testing.T) {
	whole := &silent{Info{ID: "local"}}
	set, err := NewSet(whole)
	if err != nil {
		t.Fatal(err)
	}
	if set.Mended(t.Context()) || BrokenBy(whole) != nil {
		t.Error("a provider that could be opened is broken")
	}
}
