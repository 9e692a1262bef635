package broker_test

import (
	"encoding/base32"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sallyport/broker"
	"sallyport/identity"
	"sallyport/mapping"
)

// checksum is what a scanner elsewhere would compute over a key.
func checksum(body string) string {
	sum := binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE([]byte(body)))
	return base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding).EncodeToString(sum)
}

func TestKEY01_AKeyHasPrefixIDSecretAndChecksum(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "viewers")
	k, whole := h.newKey(h.signIn("ada"), "app")
	if !regexp.MustCompile(`^sp_[a-z2-7]{26}_[a-z2-7]{59}$`).MatchString(whole) {
		t.Fatalf("key has the shape %q", whole)
	}
	if body := whole[:len(whole)-7]; checksum(body) != whole[len(whole)-7:] {
		t.Fatal("checksum is not the CRC-32 of what stands before it")
	}
	id, secret, err := broker.ParseKey(whole)
	if err != nil || id != k.ID || len(secret) != 52 {
		t.Fatalf("parsed as %q, %d characters of secret, %v", id, len(secret), err)
	}
	if k.Prefix != "sp" || !strings.HasPrefix(whole, "sp_"+k.ID+"_") {
		t.Fatalf("key of %+v is %q", k, whole)
	}
	t.Run("and its secret is shown once", func(t *testing.T) {
		list, err := h.Keys(t.Context(), h.signIn("ada").Principal)
		if err != nil || len(list) != 1 {
			t.Fatalf("%d keys, %v", len(list), err)
		}
		if diff := cmp.Diff(k, list[0]); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestKEY01_APrefixMayHaveUnderscores(t *testing.T) {
	for _, prefix := range []string{"aurora_key", "chad_ak", "a_b_c", "x", "k2_2", strings.Repeat("p_", 9) + "pp"} {
		t.Run(prefix, func(t *testing.T) {
			h := newHouse(t, func(s *settings) {
				app := *s.apps[0]
				app.Profile = &broker.Profile{Name: "other", KeyPrefix: prefix}
				s.apps = append([]*broker.Application{&app}, s.apps[1:]...)
			})
			h.addPerson("ada", "viewers")
			k, whole := h.newKey(h.signIn("ada"), "app")
			id, secret, err := broker.ParseKey(whole)
			if err != nil || id != k.ID || !strings.HasPrefix(whole, prefix+"_"+id+"_"+secret) || k.Prefix != prefix {
				t.Fatalf("key %q is read as %q and %q, %v", whole, id, secret, err)
			}
			h.opens(apiKey(whole, "app"))
			in := h.signIn("ada")
			if _, whole, err = h.RotateKey(t.Context(), h.visit(), in.Principal, k.ID, 0); err != nil || !strings.HasPrefix(whole, prefix+"_") {
				t.Fatalf("successor is %q, %v", whole, err)
			}
			h.opens(apiKey(whole, "app"))
		})
	}
}

func TestKEY01_WhatIsNoKeyIsRefused(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "viewers")
	_, whole := h.newKey(h.signIn("ada"), "app")
	id, secret, err := broker.ParseKey(whole)
	if err != nil {
		t.Fatal(err)
	}
	remade := func(prefix, id, secret string) string {
		body := prefix + "_" + id + "_" + secret
		return body + checksum(body)
	}
	other := strings.Repeat("a", 52)
	for name, raw := range map[string]string{
		"empty":                               "",
		"one character missing":               whole[:len(whole)-1],
		"one character more":                  whole + "a",
		"one character changed":               whole[:40] + flip(whole[40]) + whole[41:],
		"without a prefix":                    remade("", id, secret),
		"without an id":                       "sp__" + secret + checksum("sp__"+secret),
		"in upper case":                       strings.ToUpper(whole),
		"longer than any":                     remade(strings.Repeat("p", 200), id, secret),
		"another secret, well formed":         remade("sp", id, other),
		"another id, well formed":             remade("sp", strings.Repeat("a", 26), secret),
		"a secret with bits that nobody sees": remade("sp", id, secret[:51]+"b"),
		"a line end inside":                   remade("sp", id, secret[:51]+"\n"),
		"a secret with a cut":                 remade("sp", id[:25]+"_", secret),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := h.show(apiKey(raw, "app"))
			wantErr(t, err, identity.ErrBadCredentials, "credential_invalid")
		})
	}
	t.Run("another prefix does not make it another key", func(t *testing.T) {
		h.opens(apiKey(remade("old", id, secret), "app")) // the prefix is for people and scanners; the secret decides
	})
}

func flip(c byte) string {
	if c == 'a' {
		return "b"
	}
	return "a"
}

func TestKEY02_AKeyIsWorthItsRolesThatTheOwnerHasNow(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "operators")
	in := h.signIn("ada")
	_, all := h.newKey(in, "app")
	_, viewer := h.newKey(in, "app", "viewer")
	_, operator := h.newKey(in, "app", "operator")
	wantRoles := func(t *testing.T, whole string, roles ...string) {
		t.Helper()
		p := h.opens(apiKey(whole, "app"))
		if diff := cmp.Diff(roles, p.Roles); diff != "" {
			t.Fatal(diff)
		}
		if p.KeyID == "" || p.SessionID != "" || p.Username != "ada" || p.Provider != "local" {
			t.Fatalf("principal is %+v", p)
		}
	}
	groups := func(t *testing.T, groups ...string) {
		t.Helper()
		if err := h.SetGroups(t.Context(), h.visit(), "cli", "ada", groups); err != nil {
			t.Fatal(err)
		}
	}
	wantRoles(t, all, "operator", "viewer")
	wantRoles(t, viewer, "viewer")
	wantRoles(t, operator, "operator")
	if p := h.opens(apiKey(operator, "app")); broker.Allows(p, "hosts:read") != true && !broker.Allows(p, "hosts:write") {
		t.Fatalf("permissions are %v", p.Permissions)
	}
	t.Run("the owner is promoted, the key is not", func(t *testing.T) {
		groups(t, "admins")
		wantRoles(t, all, "operator", "viewer")
		wantRoles(t, viewer, "viewer")
		if broker.Allows(h.opens(apiKey(all, "app")), "anything:write") {
			t.Fatal("a key got a permission that its roles do not have")
		}
	})
	t.Run("the owner is demoted, the key with him", func(t *testing.T) {
		groups(t, "viewers")
		wantRoles(t, all, "viewer")
		wantRoles(t, viewer, "viewer")
	})
	t.Run("a key with none of its roles left is admitted nowhere", func(t *testing.T) {
		p := h.opens(apiKey(operator, "app"))
		if len(p.Roles)+len(p.Permissions) != 0 || h.app("app").Admits(p) || h.app("open").Admits(p) {
			t.Fatalf("principal is %+v", p)
		}
	})
	t.Run("re-mapped by a reload", func(t *testing.T) {
		h.reload(func(s *settings) {
			s.rules = append([]mapping.Rule{{Provider: "local", Group: "viewers", Roles: []string{"operator"}}}, s.rules...)
		})
		wantRoles(t, all, "operator", "viewer")
		h.reload(func(s *settings) { s.rules = s.rules[1:] })
		wantRoles(t, all, "viewer")
	})
	t.Run("the owner has no role any more", func(t *testing.T) {
		groups(t)
		_, err := h.show(apiKey(all, "app"))
		wantErr(t, err, identity.ErrDenied, "no_role")
	})
	t.Run("the owner is denied", func(t *testing.T) {
		groups(t, "viewers", "barred")
		_, err := h.show(apiKey(viewer, "app"))
		wantErr(t, err, identity.ErrDenied, "denied_by_rule")
	})
}

func TestKEY02_AKeyEndsWhenItIsRevokedOrExpires(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "viewers")
	h.addPerson("ben", "viewers")
	ada, ben := h.signIn("ada"), h.signIn("ben")
	k, whole := h.newKey(ada, "app")
	_, second := h.newKey(ada, "app")
	h.opens(apiKey(whole, "app"))
	t.Run("nobody else can revoke it", func(t *testing.T) {
		wantErr(t, h.RevokeKey(t.Context(), h.visit(), ben.Principal, k.ID), identity.ErrNotFound, "")
		h.opens(apiKey(whole, "app"))
	})
	t.Run("its owner can, once", func(t *testing.T) {
		if err := h.RevokeKey(t.Context(), h.visit(), ada.Principal, k.ID); err != nil {
			t.Fatal(err)
		}
		h.refuses(apiKey(whole, "app"))
		h.opens(apiKey(second, "app"))
		wantErr(t, h.RevokeKey(t.Context(), h.visit(), ada.Principal, k.ID), identity.ErrNotFound, "")
	})
	t.Run("its use is noted", func(t *testing.T) {
		if err := h.FlushSeen(t.Context()); err != nil {
			t.Fatal(err)
		}
		list, err := h.Keys(t.Context(), ada.Principal)
		if err != nil || len(list) != 1 || list[0].LastUsedAt.IsZero() {
			t.Fatalf("keys are %+v, %v", list, err)
		}
	})
	t.Run("it expires to the second", func(t *testing.T) {
		h.pass(24*time.Hour - time.Second)
		h.opens(apiKey(second, "app"))
		h.pass(time.Second)
		_, err := h.show(apiKey(second, "app"))
		wantErr(t, err, identity.ErrExpired, "")
	})
}

func TestKEY02_AKeyOpensItsApplicationOnlyAndIsNothingElse(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "operators")
	k, whole := h.newKey(h.signIn("ada"), "app")
	h.opens(apiKey(whole, "app"))
	for name, c := range map[string]credential{
		"another application": apiKey(whole, "reports"),
		"the broker":          apiKey(whole, broker.Self),
		"as a cookie":         {broker.Cookie, whole, "app"},
		"as a token":          {broker.Bearer, whole, "app"},
		"its id as a cookie":  {broker.Cookie, k.ID, "app"},
	} {
		t.Run(name, func(t *testing.T) { h.refuses(c) })
	}
}

func TestKEY03_KeysMakeNoKeysAndSignNothingOut(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "viewers")
	in := h.signIn("ada")
	_, whole := h.newKey(in, broker.Self)
	p := h.opens(apiKey(whole, broker.Self))
	_, _, err := h.CreateKey(t.Context(), h.visit(), p, broker.NewKey{Name: "again", Application: h.app("app")})
	wantErr(t, err, identity.ErrDenied, "key_cannot")
	wantErr(t, h.SignOut(t.Context(), h.visit(), p), identity.ErrInvalid, "no_session")
	_, err = h.IssueToken(t.Context(), p, h.app(broker.Self))
	wantErr(t, err, identity.ErrDenied, "wrong_application")
	if token, err := h.ForwardToken(t.Context(), h.Current(), p, h.app(broker.Self)); token != "" || err != nil {
		t.Fatalf("forward token %q, %v", token, err)
	}
	h.opens(cookie(in))
}

func TestKEY03_AKeyNeverAdministersTheBroker(t *testing.T) {
	h := newHouse(t)
	h.addAdministrator("root", "keepers", "admins")
	in := h.signIn("root")
	if !broker.Allows(in.Principal, broker.Administer) {
		t.Fatal("the administrator cannot administer: the test shows nothing")
	}
	for _, app := range []string{broker.Self, "app"} {
		_, whole := h.newKey(in, app)
		p := h.opens(apiKey(whole, app))
		if broker.Allows(p, broker.Administer) || broker.Allows(p, "sallyport:read") {
			t.Fatalf("key at %s has %v", app, p.Permissions)
		}
		if !broker.Allows(p, "hosts:write") {
			t.Fatalf("key at %s lost what its role gives: %v", app, p.Permissions)
		}
	}
}

func TestNewKeysAreRefusedBeforeTheyAreMade(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "viewers")
	in := h.signIn("ada")
	for _, c := range []struct {
		name     string
		key      broker.NewKey
		sentinel error
		code     string
	}{
		{"a role one does not have", broker.NewKey{Name: "ci", Roles: []string{"viewer", "admin"}}, identity.ErrDenied, "key_role_not_held"},
		{"a role that nobody declared", broker.NewKey{Name: "ci", Roles: []string{"nothing"}}, identity.ErrDenied, "key_role_not_held"},
		{"no name", broker.NewKey{Name: " "}, identity.ErrInvalid, "name_invalid"},
		{"a name with a line end", broker.NewKey{Name: "a\nb"}, identity.ErrInvalid, "name_invalid"},
		{"a name longer than 100 bytes", broker.NewKey{Name: strings.Repeat("a", 101)}, identity.ErrInvalid, "name_invalid"},
		{"a longer life than allowed", broker.NewKey{Name: "ci", Lifetime: 91 * 24 * time.Hour}, identity.ErrInvalid, "lifetime_invalid"},
		{"a life of no time", broker.NewKey{Name: "ci", Lifetime: time.Second}, identity.ErrInvalid, "lifetime_invalid"},
		{"a life that ended", broker.NewKey{Name: "ci", Lifetime: -time.Hour}, identity.ErrInvalid, "lifetime_invalid"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.key.Application = h.app("app")
			_, whole, err := h.CreateKey(t.Context(), h.visit(), in.Principal, c.key)
			wantErr(t, err, c.sentinel, c.code)
			if whole != "" {
				t.Fatal("a refusal came with a key")
			}
		})
	}
	t.Run("an application's session makes no keys", func(t *testing.T) {
		_, _, err := h.CreateKey(t.Context(), h.visit(), h.child(in, "app").Principal, broker.NewKey{Name: "ci", Application: h.app("open")})
		wantErr(t, err, identity.ErrDenied, "wrong_application")
	})
	if list, err := h.Keys(t.Context(), in.Principal); err != nil || len(list) != 0 {
		t.Fatalf("%d keys, %v", len(list), err)
	}
}

func TestAKeyOfAMovedIdentityIsRefused(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "viewers")
	in := h.signIn("ada")
	k, _ := h.newKey(in, "app")
	ben := h.addPerson("ben", "viewers")
	stolen := k
	stolen.ID, stolen.AccountID = strings.Repeat("a", 26), ben.ID // ada's identity, ben's account
	secret := strings.Repeat("a", 52)
	if err := h.store.Update(t.Context(), func(tx broker.Tx) error { return tx.CreateKey(t.Context(), stolen, secret) }); err != nil {
		t.Fatal(err)
	}
	body := "sp_" + stolen.ID + "_" + secret
	_, err := h.show(apiKey(body+checksum(body), "app"))
	if !errors.Is(err, identity.ErrDenied) || identity.CodeOf(err) != "identity_moved" {
		t.Fatalf("error is %v", err)
	}
}
