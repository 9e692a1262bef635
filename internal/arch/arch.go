// Package arch owns the rules that the shape of the source is held to: who may import whom, what no file may do, that
// whatever is exported is explained, and that the security checklist and the tests speak of the same ids. It is all
// tests; the tables in them are the documentation. What a compiler or a linter finds by itself is left to those.
package arch
