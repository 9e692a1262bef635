package embed

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"net/http"
	"strings"
	"sync"
	"time"

	"sallyport/identity"
	"sallyport/web/wire"
)

//go:embed child.js parent.js frame.css
var sources embed.FS

// file is a script or style as it is served.
type file struct {
	hash, contentType string
	body              []byte
}

// files reads what is in the binary once; it cannot change while the program runs.
var files = sync.OnceValue(func() map[string]file {
	all := map[string]file{}
	for _, name := range []string{"child.js", "parent.js", "frame.css"} {
		body, err := sources.ReadFile(name)
		if err != nil {
			panic("embed: " + err.Error()) // the binary itself is incomplete
		}
		all[name] = newFile(name, body)
	}
	all["parent.umd.js"] = newFile("parent.umd.js", umd(all["parent.js"].body))
	return all
})

func newFile(name string, body []byte) file {
	f := file{contentType: "text/javascript; charset=utf-8", body: body}
	if strings.HasSuffix(name, ".css") {
		f.contentType = "text/css; charset=utf-8"
	}
	sum := sha256.Sum256(body)
	f.hash = hex.EncodeToString(sum[:8])
	return f
}

// exports is the last line of parent.js.
const exports = "export { EmbedError, attach, mount };\n"

// umd is the module for pages that have none: it puts its exports on the window as SallyportEmbed.
func umd(module []byte) []byte {
	inner, ok := bytes.CutSuffix(module, []byte(exports))
	if !ok {
		panic("embed: parent.js does not end with its exports")
	}
	return []byte("globalThis.SallyportEmbed = (() => {\n" + string(inner) + "return { EmbedError, attach, mount };\n})();\n")
}

// hashed is the name of a file with its hash, relative to Base.
func hashed(name string) string { return files()[name].hash + "/" + name }

// ParentPath returns the path on the issuer's host where the embedding page's module never changes, so that a page may
// pin it with an integrity attribute. "/embed/v1/parent.js" is always the present one.
func ParentPath() string { return parentBase + hashed("parent.js") }

// script serves a file. Its name with the present hash may be kept for ever; with none, or that of another version, it is
// asked for again each time. The embedding page's side is for every site: there is nothing in it that is not public.
func script(name string) wire.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		f, hash := files()[name], r.PathValue("hash")
		if raw, err := hex.DecodeString(hash); err != nil || hash != "" && len(raw) != len(f.hash)/2 {
			return identity.WithCode("not_found", identity.ErrNotFound)
		}
		h := w.Header()
		h.Set("Content-Type", f.contentType)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-cache")
		if hash == f.hash {
			h.Set("Cache-Control", "public, max-age=31536000, immutable")
		}
		h.Set("Cross-Origin-Resource-Policy", "cross-origin") // to a sandboxed frame its own script is another origin's
		if strings.HasPrefix(name, "parent.") {
			h.Set("Access-Control-Allow-Origin", "*")
		}
		h.Set("ETag", `"`+f.hash+`"`)
		http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(f.body))
		return nil
	}
}
