// Package saml is the door to upstream SAML 2.0 identity providers: the service provider's side of the Web Browser SSO
// profile (saml-profiles section 4.1), started here over HTTP-Redirect and answered over HTTP-POST. Messages are bounded
// before they are parsed, signatures are checked with configured certificates only, and nothing is read but what a
// verified signature covers; assertions may be encrypted for keys of ours. It says what upstream asserts about a person
// and decides nothing: that a flow is taken once and bound to a browser, and an assertion remembered (Provider.Once), is
// the broker's, roles are the mapper's. Nothing a message holds is ever fetched.
package saml
