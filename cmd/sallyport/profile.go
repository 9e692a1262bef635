package main

import (
	"maps"
	"net/http"
	"slices"

	"sallyport/broker"
	"sallyport/configs"
)

// spellProfile hands a configured dialect to the broker. Empty names are left out, which switches the field or route off.
func spellProfile(name string, p *configs.Profile) *broker.Profile {
	return &broker.Profile{
		Name: name, BasePath: p.BasePath, KeyHeaders: canonical(p.APIKey.Headers), KeyPrefix: p.APIKey.Prefix,
		KeySecretHeader: http.CanonicalHeaderKey(p.APIKey.SecretHeader), EndsToken: p.Refresh.EndsToken, TokenQuery: p.TokenQuery,
		CSRFHeader: p.CSRFHeader, Error: p.Error,
		Cookie: broker.CookieSpelling{
			Name: p.Cookie.Name, Domain: p.Cookie.Domain,
			RefreshBelow: p.Cookie.RefreshBelow,
			Token:        p.Cookie.Value == configs.ValueToken, Strict: p.Cookie.SameSite == configs.SameSiteStrict,
		},
		Routes: named(map[string]string{
			"login": p.Routes.Login, "logout": p.Routes.Logout, "csrf": p.Routes.CSRF, "me": p.Routes.Me,
			"validate": p.Routes.Validate, "permissions": p.Routes.Permissions, "sessions": p.Routes.Sessions,
			"sso_login": p.Routes.SSOLogin, "api_keys": p.Routes.APIKeys, "refresh": p.Routes.Refresh,
			"confirm": p.Routes.Confirm, "ticket": p.Routes.Ticket, "revoke": p.Routes.Revoke,
			"revocations": p.Routes.Revocations,
		}),
		Request: named(map[string]string{
			"username": p.Request.Username, "password": p.Request.Password, "provider": p.Request.Provider,
			"application": p.Request.Application, "refresh_token": p.Request.RefreshToken,
			"verification_id": p.Request.VerificationID, "code": p.Request.Code,
		}),
		Reply: named(map[string]string{
			"access_token": p.Reply.AccessToken, "token_type": p.Reply.TokenType, "expires_in": p.Reply.ExpiresIn,
			"user": p.Reply.User, "refresh_token": p.Reply.RefreshToken, "verification_id": p.Reply.VerificationID,
			"ended_sessions": p.Reply.EndedSessions,
		}),
		User: named(map[string]string{
			"id": p.User.ID, "username": p.User.Username, "name": p.User.Name, "email": p.User.Email,
			"roles": p.User.Roles, "permissions": p.User.Permissions,
		}),
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

// claimsOf lists claims in the order of their names.
func claimsOf(claims map[string]configs.Claim) []broker.Claim {
	out := make([]broker.Claim, 0, len(claims))
	for _, name := range slices.Sorted(maps.Keys(claims)) {
		c := claims[name]
		out = append(out, broker.Claim{
			Name: name, Source: c.From, Value: c.Value, Shape: c.Shape, Rename: c.Rename, Only: c.Only, Prefer: c.Prefer,
			Template: c.Template,
		})
	}
	return out
}
