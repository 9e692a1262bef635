// Package static owns the files that pages load: one style sheet, one small script, one picture. They are in the binary,
// are served under an address that changes with their content, and may be cached for ever. It knows nothing of pages.
package static

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
	"sync"
)

//go:embed sallyport.css sallyport.js favicon.svg robots.txt
var files embed.FS

// Prefix is where Handler expects to be mounted.
const Prefix = "/static/"

// The longest a cache may keep a file, and the word that it never changes (RFC 8246).
const forever = "public, max-age=31536000, immutable"

// file is one file, ready to be sent.
type file struct {
	hash, contentType string
	body, compressed  []byte
}

// assets reads the embedded files once; they cannot change while the program runs.
var assets = sync.OnceValue(func() map[string]file {
	types := map[string]string{
		"sallyport.css": "text/css; charset=utf-8",
		"sallyport.js":  "text/javascript; charset=utf-8",
		"favicon.svg":   "image/svg+xml",
		"robots.txt":    "text/plain; charset=utf-8",
	}
	all := make(map[string]file, len(types))
	for name, contentType := range types {
		body, err := files.ReadFile(name)
		if err != nil {
			panic("static: " + err.Error()) // the binary itself is incomplete
		}
		sum := sha256.Sum256(body)
		all[name] = file{
			hash: hex.EncodeToString(sum[:4]), contentType: contentType, body: body, compressed: compress(body),
		}
	}
	return all
})

func compress(body []byte) []byte {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		panic("static: " + err.Error()) // a constant level is wrong
	}
	_, _ = w.Write(body) // a bytes.Buffer takes everything
	_ = w.Close()
	return b.Bytes()
}

// URL returns the address of a file by name ("sallyport.css"), with eight digits of its hash; "" for an unknown name.
func URL(name string) string {
	f, ok := assets()[name]
	if !ok {
		return ""
	}
	return Prefix + f.hash + "/" + name
}

// Handler serves GET and HEAD of the addresses that URL makes. The hash of another version is answered with the present
// file, not to be cached, because two nodes may run different versions for a while; everything else is a plain 404.
func Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hash, name, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, Prefix), "/")
		f, ok := assets()[name]
		w.Header().Set("X-Content-Type-Options", "nosniff")
		switch {
		case !ok || !isHash(hash):
			w.Header().Set("Cache-Control", "no-store")
			w.WriteHeader(http.StatusNotFound)
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			w.Header().Set("Allow", "GET, HEAD")
			w.Header().Set("Cache-Control", "no-store")
			w.WriteHeader(http.StatusMethodNotAllowed)
		case hash == f.hash:
			send(w, r, f, forever)
		default:
			send(w, r, f, "no-cache")
		}
	})
}

// Robots serves robots.txt: there is nothing here for search engines.
func Robots() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		send(w, r, assets()["robots.txt"], "public, max-age=86400")
	})
}

func isHash(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == 4
}

func send(w http.ResponseWriter, r *http.Request, f file, cache string) {
	h := w.Header()
	h.Set("Content-Type", f.contentType)
	h.Set("Cache-Control", cache)
	h.Set("Vary", "Accept-Encoding")
	// A file opened by itself is a page too, and an SVG could hold script.
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; frame-ancestors 'none'")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	body := f.body
	if len(f.compressed) < len(f.body) && acceptsGzip(r.Header.Get("Accept-Encoding")) {
		h.Set("Content-Encoding", "gzip")
		body = f.compressed
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // the client went away: nothing to be done
	}
}

// acceptsGzip reads Accept-Encoding (RFC 9110 section 12.5.3) as far as it matters here; "gzip;q=0" is a refusal.
func acceptsGzip(header string) bool {
	for part := range strings.SplitSeq(header, ",") {
		coding, weight, _ := strings.Cut(part, ";")
		if strings.EqualFold(strings.TrimSpace(coding), "gzip") {
			q, found := strings.CutPrefix(strings.ReplaceAll(weight, " ", ""), "q=")
			return !found || strings.Trim(q, "0.") != ""
		}
	}
	return false
}
