// Package jwt owns the door for people whom another application vouches for: the embedding application signs a
// short-lived JWT about a person it has signed in, and we take it. Everything about such a token is decided here:
// whose it is, which key may have signed it, for whom it was made, how long it may live, and under which key it is
// remembered so that it opens the door once. Where the token came from, and which pages may frame ours, is not.
//
// The algorithm comes from the configured key, never from the token. What the token calls roles are groups to us: they
// pass through the mapping rules as those of every other door do.
package jwt
