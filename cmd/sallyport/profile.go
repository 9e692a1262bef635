package main

import (
	"net/http"

	"sallyport/broker"
	"sallyport/configs"
)

// spellProfile hands a configured dialect to the broker. Empty names are left out, which switches the field, route or
// claim off.
func spellProfile(name string, p *configs.Profile, keyPrefix string) *broker.Profile {
	return &broker.Profile{
		Name: name, BasePath: p.BasePath, KeyHeaders: canonical(p.APIKey.Headers), KeyPrefix: keyPrefix, CSRFHeader: p.CSRFHeader,
		Error: p.Error,
		Routes: named(map[string]string{
			"login": p.Routes.Login, "logout": p.Routes.Logout, "csrf": p.Routes.CSRF, "me": p.Routes.Me,
			"validate": p.Routes.Validate, "permissions": p.Routes.Permissions, "sessions": p.Routes.Sessions,
			"sso_login": p.Routes.SSOLogin, "api_keys": p.Routes.APIKeys,
		}),
		Request: named(map[string]string{
			"username": p.Request.Username, "password": p.Request.Password, "provider": p.Request.Provider,
			"application": p.Request.Application,
		}),
		Reply: named(map[string]string{
			"access_token": p.Reply.AccessToken, "token_type": p.Reply.TokenType, "expires_in": p.Reply.ExpiresIn,
			"user": p.Reply.User,
		}),
		User: named(map[string]string{
			"id": p.User.ID, "username": p.User.Username, "name": p.User.Name, "email": p.User.Email,
			"roles": p.User.Roles, "permissions": p.User.Permissions,
		}),
		Claims: claimsOf(p.Claims),
	}
}

// canonical spells header names as requests carry them.
func canonical(headers []string) []string {
	out := make([]string, len(headers))
	for i, h := range headers {
		out[i] = http.CanonicalHeaderKey(h)
	}
	return out
}

func named(all map[string]string) map[string]string {
	out := make(map[string]string, len(all))
	for ours, called := range all {
		if called != "" {
			out[ours] = called
		}
	}
	return out
}

func claimsOf(c configs.ClaimNames) []broker.Claim {
	var out []broker.Claim
	for _, claim := range []struct {
		source string
		spelt  configs.Claim
	}{
		{"username", c.Username}, {"name", c.Name}, {"email", c.Email}, {"roles", c.Roles}, {"permissions", c.Permissions},
	} {
		if claim.spelt.Name != "" {
			out = append(out, broker.Claim{Source: claim.source, Name: claim.spelt.Name, Shape: claim.spelt.Shape})
		}
	}
	return out
}
