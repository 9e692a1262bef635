// Package oidc is the door to upstream OpenID Connect providers: discovery, the code flow with PKCE, state and nonce
// (OpenID Connect Core 1.0, RFC 7636, RFC 9207), the checks of the ID token, userinfo, and asking again with a refresh
// token. It says what upstream claims about a person and decides nothing: state being taken once and bound to a browser
// is the broker's, roles are the mapper's. Nothing a token holds is ever fetched.
package oidc
