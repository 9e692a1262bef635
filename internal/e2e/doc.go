// Package e2e holds tests of the whole: the real binary on a real configuration file, with a real directory, a real
// OpenID provider, nginx in front of an application, and a browser. It owns no code that ships. What is tested here is
// what only the whole can show; single decisions are tested where they are made.
package e2e
