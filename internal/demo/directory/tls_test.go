package directory

import (
	"crypto/tls"
	"crypto/x509"
)

// clientTLS trusts the server's CA and nothing else.
func clientTLS(s *Server) *tls.Config {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(s.CAPEM)
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots, ServerName: "127.0.0.1"}
}
