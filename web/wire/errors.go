package wire

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"sallyport/broker"
	"sallyport/identity"
	"sallyport/web/templates"
)

// Handler is an HTTP handler that returns its error instead of writing it.
type Handler func(w http.ResponseWriter, r *http.Request) error

// answer is how a kind of error is told: status, the code where the error has none of its own, and the log level.
type answer struct {
	is     error
	status int
	code   string
	level  slog.Level
}

// answers is the one table from error to answer. The first that fits counts; anything else is a fault of ours.
func answers() []answer {
	return []answer{
		{context.Canceled, 499, "client_gone", slog.LevelDebug},
		{errUpstreamTime, http.StatusGatewayTimeout, "upstream_timeout", slog.LevelWarn},
		{errUpstream, http.StatusBadGateway, "upstream_unavailable", slog.LevelWarn},
		{identity.ErrUnavailable, http.StatusServiceUnavailable, "unavailable", slog.LevelWarn},
		{identity.ErrThrottled, http.StatusTooManyRequests, "rate_limited", slog.LevelInfo},
		{identity.ErrBadCredentials, http.StatusUnauthorized, "bad_credentials", slog.LevelInfo},
		{identity.ErrDenied, http.StatusForbidden, "denied", slog.LevelInfo},
		{identity.ErrExpired, http.StatusUnauthorized, "expired", slog.LevelInfo},
		{identity.ErrNotFound, http.StatusNotFound, "not_found", slog.LevelInfo},
		{identity.ErrConflict, http.StatusConflict, "conflict", slog.LevelInfo},
		{identity.ErrInvalid, http.StatusBadRequest, "bad_request", slog.LevelInfo},
		{errMethod, http.StatusMethodNotAllowed, "method_not_allowed", slog.LevelInfo},
		{errHost, http.StatusMisdirectedRequest, "unknown_host", slog.LevelInfo},
		{errTooLarge, http.StatusRequestEntityTooLarge, "too_large", slog.LevelInfo},
		{errMediaType, http.StatusUnsupportedMediaType, "media_type", slog.LevelInfo},
	}
}

var (
	errMethod    = errors.New("method not allowed")
	errHost      = errors.New("host is not ours")
	errTooLarge  = errors.New("request body too large")
	errMediaType = errors.New("content type not accepted")
)

// NotFound says that there is no such page.
func NotFound() error { return identity.WithCode("not_found", identity.ErrNotFound) }

// MethodNotAllowed is, like UnknownHost and MediaType, an error that only HTTP knows.
func MethodNotAllowed() error { return errMethod }

// UnknownHost see MethodNotAllowed.
func UnknownHost() error { return errHost }

// MediaType see MethodNotAllowed.
func MediaType() error { return errMediaType }

// OnlyGet keeps HEAD away from a GET that uses something up: a link checker must not spend somebody's sign-in.
func OnlyGet(next Handler) Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if r.Method != http.MethodGet {
			w.Header().Set("Allow", http.MethodGet)
			return MethodNotAllowed()
		}
		return next(w, r)
	}
}

// Status returns how an error is answered: the status and the public code.
func Status(err error) (int, string) {
	a := answerOf(err)
	if code := identity.CodeOf(err); code != "" && a.status != http.StatusInternalServerError {
		return a.status, code
	}
	return a.status, a.code
}

// TooLarge reports whether reading a body stopped at its bound.
func TooLarge(err error) bool {
	var large *http.MaxBytesError
	return errors.As(err, &large)
}

func answerOf(err error) answer {
	if TooLarge(err) {
		err = errTooLarge
	}
	for _, a := range answers() {
		if errors.Is(err, a.is) {
			return a
		}
	}
	return answer{nil, http.StatusInternalServerError, "internal", slog.LevelError}
}

// Problem is the one body of every answer that is not a success (RFC 9457).
type Problem struct {
	Type    string `json:"type"`
	Title   string `json:"title"`
	Status  int    `json:"status"`
	Code    string `json:"code"`
	Detail  string `json:"detail"`
	TraceID string `json:"trace_id"`
}

// API serves a handler whose errors are told as problem bodies.
func (h *House) API(surface string, fn Handler) http.Handler {
	return h.serve(surface, fn, h.WriteProblem)
}

// Page serves a handler whose errors are told as pages to people and as problem bodies to programs.
func (h *House) Page(surface string, fn Handler) http.Handler {
	return h.serve(surface, fn, func(w http.ResponseWriter, r *http.Request, err error) {
		if !wantsPage(r) {
			h.WriteProblem(w, r, err)
			return
		}
		h.WriteErrorPage(w, r, err, h.BackURL(r))
	})
}

func (h *House) serve(surface string, fn Handler, tell func(http.ResponseWriter, *http.Request, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sw := &statusWriter{ResponseWriter: w}
		defer func() {
			if h.Count != nil {
				h.Count(surface, sw.code())
			}
		}()
		err := h.guarded(sw, r, fn)
		if err == nil {
			return
		}
		h.logRefusal(r, surface, err)
		if sw.status != 0 {
			// The answer is under way and is not whole: the client must see it break off, not take it for a success.
			panic(http.ErrAbortHandler)
		}
		tell(sw, r, err)
	})
}

// guarded turns a panic into a fault: no request ends the process (DOS-04).
func (h *House) guarded(w http.ResponseWriter, r *http.Request, fn Handler) (err error) {
	defer func() {
		if p := recover(); p != nil {
			h.Log.ErrorContext(r.Context(), "panic in a handler",
				"request_id", Of(r).TraceID, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			err = errors.New("panic")
		}
	}()
	return fn(w, r)
}

func (h *House) logRefusal(r *http.Request, surface string, err error) {
	a := answerOf(err)
	_, code := Status(err)
	h.Log.Log(r.Context(), a.level, "request refused", "surface", surface, "method", r.Method, "path", loggedPath(r),
		"status", a.status, "code", code, "request_id", Of(r).TraceID, "address", Of(r).Address, "err", err)
}

// loggedPath is the request's path without segments that are, or are as long as, a secret.
func loggedPath(r *http.Request) string {
	const longest = 64
	segments := strings.Split(r.URL.Path, "/")
	for i, s := range segments {
		if len(s) > longest || broker.IsCredential(s) {
			segments[i] = "[redacted]"
		}
	}
	return strings.Join(segments, "/")
}

// SetErrorHeaders sets what every answer that is not a success carries: x-error and x-error-id, for 503 when to come
// back, and for 401 what would be accepted (RFC 9110 section 15.5.2).
func SetErrorHeaders(h http.Header, status int, code, traceID string) {
	h.Set("X-Error", code)
	h.Set("X-Error-Id", traceID)
	h.Set("Cache-Control", "no-store")
	switch status {
	case http.StatusServiceUnavailable:
		h.Set("Retry-After", "5")
	case http.StatusUnauthorized:
		h.Set("WWW-Authenticate", `Bearer realm="sallyport"`)
	}
}

// setRetryAfter tells whoever came too often when to come back, in whole seconds.
func setRetryAfter(h http.Header, err error) {
	if after := identity.RetryAfter(err); after > 0 {
		h.Set("Retry-After", strconv.FormatInt(int64((after+time.Second-1)/time.Second), 10))
	}
}

// WriteProblem tells an error to a program.
func (h *House) WriteProblem(w http.ResponseWriter, r *http.Request, err error) {
	status, code := Status(err)
	trace := Of(r).TraceID
	SetErrorHeaders(w.Header(), status, code, trace)
	setRetryAfter(w.Header(), err)
	title, detail := h.Pages.ProblemText(h.Lang(r), templates.Problem{Code: code})
	body, _ := json.Marshal(Problem{ // strings and a number: this cannot fail
		Type: "urn:sallyport:problem:" + code, Title: title, Status: status, Code: code, Detail: detail, TraceID: trace,
	})
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body)
	}
}

// statusWriter remembers the status of an answer.
type statusWriter struct {
	http.ResponseWriter
	status int
}

// WriteHeader see http.ResponseWriter.
func (s *statusWriter) WriteHeader(status int) {
	if s.status == 0 {
		s.status = status
	}
	s.ResponseWriter.WriteHeader(status)
}

// Write see http.ResponseWriter.
func (s *statusWriter) Write(b []byte) (int, error) {
	if s.status == 0 {
		s.status = http.StatusOK
	}
	return s.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the connection.
func (s *statusWriter) Unwrap() http.ResponseWriter { return s.ResponseWriter }

func (s *statusWriter) code() int {
	if s.status == 0 {
		return http.StatusOK
	}
	return s.status
}
