package jwt_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sallyport/identity"
	"sallyport/providers/jwt"
)

func TestAGoodTokenBecomesAnAssertion(t *testing.T) {
	c := newClock()
	p := open(t, c, config(hmacKey("", "a")))
	got := mustVerify(t, p, hmacEmbedder("a").sign(t, good(c).with(claims{
		"sid": "s-1", "amr": []string{"pwd", "otp"}, "auth_time": c.now().Add(-time.Hour).Unix(), "nbf": c.now().Unix(),
		"email_verified": true, "org": map[string]any{"unit": []any{"r&d", 7}}, "hidden": []any{[]any{"x"}}, "none": nil,
	})))
	got.Upstream = nil // TestEMB02_…
	want := identity.Assertion{UpstreamSession: "s-1", Identity: identity.Identity{
		Provider: "portal", Subject: "u-17", Username: "ada", Name: "Ada Lovelace", Email: "ada@portal.example",
		Groups: []string{"Analysts", "Staff"}, AMR: []string{"pwd", "otp"}, AuthTime: c.now().Add(-time.Hour),
		Attributes: map[string][]string{
			"name": {"Ada Lovelace"}, "email": {"ada@portal.example"}, "preferred_username": {"ada"},
			"roles": {"Analysts", "Staff"}, "email_verified": {"true"}, "org.unit": {"r&d", "7"},
		},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestASparseTokenIsEnough(t *testing.T) {
	c := newClock()
	p := open(t, c, config(hmacKey("", "a")))
	raw := hmacEmbedder("a").signAs(t, map[string]any{"alg": "HS256"}, good(c).with(claims{
		"name": nil, "email": nil, "preferred_username": nil, "roles": nil, "aud": []string{house},
	}))
	who := mustVerify(t, p, raw).Identity
	want := identity.Identity{Provider: "portal", Subject: "u-17", AuthTime: c.now(), Attributes: map[string][]string{}}
	if diff := cmp.Diff(want, who); diff != "" {
		t.Error(diff)
	}
}

func TestEMB01_ATokenWithoutAClaimIsRefused(t *testing.T) {
	c := newClock()
	p := open(t, c, config(hmacKey("", "a")))
	for _, name := range []string{"iss", "aud", "sub", "iat", "exp", "jti"} {
		t.Run(name, func(t *testing.T) {
			mustRefuse(t, p, hmacEmbedder("a").sign(t, good(c).with(claims{name: nil})), wantClaim, name)
		})
	}
}

func TestEMB01_EachTimeIsStretchedToItsBoundAndOneSecondBeyond(t *testing.T) {
	c := newClock()
	now := c.now().Unix()
	p := open(t, c, config(hmacKey("", "a")))
	tests := map[string]struct {
		change claims
		want   refusal // zero: accepted
		words  string
	}{
		"lives exactly five minutes":    {change: claims{"exp": now + 300}},
		"lives a second more":           {claims{"exp": now + 301}, wantTTL, "max_ttl"},
		"lives a fraction more":         {claims{"exp": float64(now) + 300.5}, wantTTL, "max_ttl"},
		"lives for ever":                {claims{"exp": 99999999999}, wantTTL, "max_ttl"},
		"made 30 s ahead":               {change: claims{"iat": now + 30}},
		"made 31 s ahead":               {claims{"iat": now + 31}, wantNotYet, `"iat" lies 31s in the future`},
		"expired 29 s ago":              {change: claims{"iat": now - 100, "exp": now - 29}},
		"expired 30 s ago":              {claims{"iat": now - 100, "exp": now - 30}, wantExpired, "it expired 30s ago"},
		"expired a year ago":            {claims{"iat": now - 31e6, "exp": now - 31e6 + 60}, wantExpired, "it expired"},
		"expired and lived too long":    {claims{"iat": now - 31e6, "exp": now - 60}, wantTTL, "max_ttl"},
		"expired, and of another house": {claims{"iat": now - 100, "exp": now - 60, "aud": "x"}, wantClaim, "aud"},
		"ends as it begins":             {claims{"exp": now}, wantClaim, "not after"},
		"ends before it begins":         {claims{"exp": now - 1}, wantClaim, "not after"},
		"begins in 30 s":                {change: claims{"nbf": now + 30}},
		"begins in 31 s":                {claims{"nbf": now + 31}, wantNotYet, `"nbf" lies 31s`},
		"signed in 30 s ahead":          {change: claims{"auth_time": now + 30}},
		"signed in 31 s ahead":          {claims{"auth_time": now + 31}, wantNotYet, `"auth_time" lies 31s`},
		"exp is text":                   {claims{"exp": "1800000100"}, wantClaim, "exp"},
		"iat is text":                   {claims{"iat": "CANARY"}, wantClaim, "iat"},
		"exp is negative":               {claims{"exp": -1}, wantClaim, "exp"},
		"iat is zero":                   {claims{"iat": 0}, wantTTL, "max_ttl"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			raw := hmacEmbedder("a").sign(t, good(c).with(tt.change))
			if tt.want == (refusal{}) {
				mustVerify(t, p, raw)
				return
			}
			mustRefuse(t, p, raw, tt.want, tt.words)
		})
	}
}

func TestEMB01_AConfiguredLifetimeAndSkewAreHeldTo(t *testing.T) {
	c := newClock()
	now, none := c.now().Unix(), time.Duration(0)
	cfg := config(hmacKey("", "a"))
	cfg.MaxTTL, cfg.Skew = time.Minute, &none
	p := open(t, c, cfg)
	mustVerify(t, p, hmacEmbedder("a").sign(t, good(c).with(claims{"exp": now + 60})))
	mustRefuse(t, p, hmacEmbedder("a").sign(t, good(c).with(claims{"exp": now + 61})), wantTTL, "max_ttl")
	mustRefuse(t, p, hmacEmbedder("a").sign(t, good(c).with(claims{"iat": now + 1, "exp": now + 2})), wantNotYet, "iat")
	mustRefuse(t, p, hmacEmbedder("a").sign(t, good(c).with(claims{"iat": now - 5, "exp": now})), wantExpired, "it expired")
}

func TestEMB01_ATokenThatSaysTheWrongThingIsRefused(t *testing.T) {
	c := newClock()
	p := open(t, c, config(hmacKey("", "a")))
	long := strings.Repeat("x", 256)
	for name, tt := range map[string]struct {
		change claims
		words  string
	}{
		"another issuer":                   {claims{"iss": "https://CANARY.example"}, "iss"},
		"the issuer with a slash":          {claims{"iss": portal + "/"}, "iss"},
		"an issuer that is a list":         {claims{"iss": []string{portal}}, "iss"},
		"another audience":                 {claims{"aud": "https://CANARY.example"}, "aud"},
		"the audience with a slash":        {claims{"aud": house + "/"}, "aud"},
		"an audience too many":             {claims{"aud": []string{house, "https://CANARY.example"}}, "aud"},
		"the audience twice":               {claims{"aud": []string{house, house}}, "aud"},
		"no audience in the list":          {claims{"aud": []string{}}, "aud"},
		"an audience that is an object":    {claims{"aud": claims{"a": house}}, "aud"},
		"an empty subject":                 {claims{"sub": ""}, "sub"},
		"a subject that is a number":       {claims{"sub": 17}, "sub"},
		"a subject of 256 bytes":           {claims{"sub": long}, "sub"},
		"a subject with a line end":        {claims{"sub": "CANARY\n"}, "sub"},
		"an empty jti":                     {claims{"jti": ""}, "jti"},
		"a jti that is a number":           {claims{"jti": 1}, "jti"},
		"a jti of 256 bytes":               {claims{"jti": long}, "jti"},
		"a sid that is a number":           {claims{"sid": 1}, "sid"},
		"a nonce that is a list":           {claims{"nonce": []string{"CANARY"}}, "nonce"},
		"an empty nonce":                   {claims{"nonce": ""}, "nonce"},
		"a nonce with a line end":          {claims{"nonce": "CANARY\n"}, "nonce"},
		"applications in a list":           {claims{"application": []string{"CANARY"}}, "application"},
		"an empty application":             {claims{"application": ""}, "application"},
		"an application with a line end":   {claims{"application": "CANARY\n"}, "application"},
		"a name that is a list":            {claims{"name": []string{"CANARY"}}, "name"},
		"an endless name":                  {claims{"name": strings.Repeat("x", 1025)}, "name"},
		"an address that is an object":     {claims{"email": claims{"a": "CANARY"}}, "email"},
		"a user name that is a number":     {claims{"preferred_username": 5}, "preferred_username"},
		"roles that are an object":         {claims{"roles": claims{"CANARY": true}}, "roles"},
		"roles with a number among them":   {claims{"roles": []any{"a", 1}}, "roles"},
		"an amr that is a number":          {claims{"amr": 2}, "amr"},
		"two claims that have one path":    {claims{"a.b": 1, "a": claims{"b": 2}}, "one path"},
		"claims that nest without end":     {claims{"a": nested(9)}, "levels"},
		"claims in a number without bound": {claims{"a": make([]int, 10_001)}, "values"},
	} {
		t.Run(name, func(t *testing.T) {
			mustRefuse(t, p, hmacEmbedder("a").sign(t, good(c).with(tt.change)), wantClaim, tt.words)
		})
	}
	mustVerify(t, p, hmacEmbedder("a").sign(t, good(c).with(claims{"sub": long[:255], "jti": long[:255]})))
}

func nested(levels int) any {
	if levels == 0 {
		return "deep"
	}
	return claims{"a": nested(levels - 1)}
}

func TestEMB01_ATokenOfAnotherKindOrShapeIsRefused(t *testing.T) {
	c := newClock()
	p := open(t, c, config(hmacKey("", "a")))
	e := hmacEmbedder("a")
	for _, typ := range []string{"at+jwt", "logout+jwt", "JWE"} {
		mustRefuse(t, p, e.signAs(t, map[string]any{"alg": "HS256", "typ": typ}, good(c)), wantMalformed, "another kind")
	}
	mustVerify(t, p, e.signAs(t, map[string]any{"alg": "HS256", "typ": "jwt"}, good(c)))

	raw := e.sign(t, good(c))
	parts := strings.Split(raw, ".")
	for name, broken := range map[string]string{
		"nothing":                  "",
		"two parts":                parts[0] + "." + parts[1],
		"no signature":             parts[0] + "." + parts[1] + ".",
		"padding":                  raw + "=",
		"a line end":               raw + "\n",
		"a bearer prefix":          "Bearer " + raw,
		"crit":                     e.raw(t, `{"alg":"HS256","crit":["x"],"x":1}`, `{"sub":"CANARY"}`),
		"a claim twice":            e.raw(t, `{"alg":"HS256"}`, `{"sub":"a","sub":"CANARY"}`),
		"a payload that is a list": e.raw(t, `{"alg":"HS256"}`, `["CANARY"]`),
		"more than 64 KiB":         e.sign(t, good(c).with(claims{"x": strings.Repeat("y", 64<<10)})),
	} {
		t.Run(name, func(t *testing.T) { mustRefuse(t, p, broken, wantMalformed, "") })
	}
}

func TestRolesInEveryShapeBecomeGroups(t *testing.T) {
	c := newClock()
	for name, tt := range map[string]struct {
		key    string
		change claims
		want   []string
	}{
		"a list":                      {"", claims{"roles": []string{"b", "a b", "c,d"}}, []string{"b", "a b", "c,d"}},
		"a list with doubles":         {"", claims{"roles": []string{"b", "", "b", "a"}}, []string{"b", "a"}},
		"an empty list":               {"", claims{"roles": []string{}}, []string{}},
		"separated by commas":         {"", claims{"roles": "Power Users, Staff,,x "}, []string{"Power Users", "Staff", "x"}},
		"separated by spaces":         {"", claims{"roles": " analyst  staff "}, []string{"analyst", "staff"}},
		"one":                         {"", claims{"roles": "analyst"}, []string{"analyst"}},
		"an empty string":             {"", claims{"roles": ""}, []string{}},
		"absent":                      {"", claims{"roles": nil}, nil},
		"inside objects":              {"r.a.roles", claims{"r": claims{"a": claims{"roles": "a b"}}}, []string{"a", "b"}},
		"a name with dots":            {"app.roles", claims{"app.roles": []string{"x"}}, []string{"x"}},
		"a name with dots in objects": {"a.b.c", claims{"a": claims{"b.c": "x"}}, []string{"x"}},
		"a name with a colon":         {"service:roles", claims{"service:roles": "x,y"}, []string{"x", "y"}},
		"a URL":                       {"https://a.example/r", claims{"https://a.example/r": "x"}, []string{"x"}},
		"a path that leads nowhere":   {"a.b", claims{"a": "CANARY"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := config(hmacKey("", "a"))
			cfg.RolesKey = tt.key
			got := mustVerify(t, open(t, c, cfg), hmacEmbedder("a").sign(t, good(c).with(tt.change)))
			if diff := cmp.Diff(tt.want, got.Identity.Groups); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestANullIsNoName(t *testing.T) {
	c := newClock()
	p := open(t, c, config(hmacKey("", "a")))
	raw := hmacEmbedder("a").raw(t, `{"alg":"HS256"}`, `{"iss":"`+portal+`","aud":"`+house+
		`","sub":"u-17","iat":1800000000,"exp":1800000060,"jti":"1","name":null,"email":null,"roles":null}`)
	who := mustVerify(t, p, raw).Identity
	if who.Name != "" || who.Email != "" || who.Groups != nil {
		t.Errorf("got %+v", who)
	}
}

func TestTheSubjectIsWhereItIsConfigured(t *testing.T) {
	c := newClock()
	for name, tt := range map[string]struct {
		key    string
		change claims
		want   string
	}{
		"a name with a colon":        {"service:username", claims{"service:username": "ada", "sub": nil}, "ada"},
		"beside a sub":               {"uid", claims{"uid": "u-1"}, "u-1"},
		"inside an object":           {"user.id", claims{"user": claims{"id": "u-2"}}, "u-2"},
		"a name with a dot":          {"user.id", claims{"user.id": "u-3"}, "u-3"},
		"colon and dot":              {"svc:user.id", claims{"svc:user": claims{"id": "u-4"}}, "u-4"},
		"spelled as it is, no trims": {"sub", claims{"sub": "CORP\\Ada "}, "CORP\\Ada "},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := config(hmacKey("", "a"))
			cfg.SubjectKey = tt.key
			got := mustVerify(t, open(t, c, cfg), hmacEmbedder("a").sign(t, good(c).with(tt.change)))
			if got.Identity.Subject != tt.want {
				t.Errorf("subject %q, want %q", got.Identity.Subject, tt.want)
			}
		})
	}
	cfg := config(hmacKey("", "a"))
	cfg.SubjectKey = "user.id"
	p := open(t, c, cfg)
	mustRefuse(t, p, hmacEmbedder("a").sign(t, good(c)), wantClaim, `"user.id" is missing`)
	mustRefuse(t, p, hmacEmbedder("a").sign(t, good(c).with(claims{"user.id": "u-3", "user": claims{"id": "u-2"}})),
		wantClaim, `"user.id": two claims`)
	cfg.SubjectKey = "a.b.c"
	mustRefuse(t, open(t, c, cfg), hmacEmbedder("a").sign(t, good(c).with(claims{
		"a": claims{"b.c": "CANARY"}, "a.b": claims{"c": "CANARY2"},
	})), wantClaim, `"a.b.c": two claims`)
}

func TestANullSubjectIsNoSubject(t *testing.T) {
	c := newClock()
	p := open(t, c, config(hmacKey("", "a")))
	raw := hmacEmbedder("a").raw(t, `{"alg":"HS256"}`, `{"iss":"`+portal+`","aud":"`+house+
		`","sub":null,"iat":1800000000,"exp":1800000060,"jti":"1"}`)
	mustRefuse(t, p, raw, wantClaim, "sub")
}

func TestEMB03_AnEmbeddersSubjectLivesInItsOwnNamespaceAndVouchesForNoAddress(t *testing.T) {
	c := newClock()
	who := mustVerify(t, open(t, c, config(hmacKey("", "a"))), hmacEmbedder("a").sign(t, good(c).with(claims{
		"sub": "admin", "preferred_username": "admin", "email": "admin@login.example", "email_verified": true,
		"roles": []string{"sallyport:admin"}, "provider": "local", "idp": "local",
	}))).Identity
	if who.Provider != "portal" || who.Subject != "admin" {
		t.Errorf("the identity is (%q, %q), want that of the door's own namespace", who.Provider, who.Subject)
	}
	if who.EmailVerified {
		t.Error("an embedder's word makes an address verified")
	}
	if diff := cmp.Diff([]string{"sallyport:admin"}, who.Groups); diff != "" {
		t.Errorf("roles are groups, spelled as they came: %s", diff)
	}
}

func TestCompatLetsGoOnlyWhatItNames(t *testing.T) {
	c := newClock()
	now := c.now().Unix()
	e := hmacEmbedder("a")
	for _, name := range []string{"iss", "aud", "jti", "iat"} {
		t.Run(name, func(t *testing.T) {
			cfg := config(hmacKey("", "a"))
			cfg.Compat.Missing = []string{name}
			p := open(t, c, cfg)
			mustVerify(t, p, e.sign(t, good(c).with(claims{name: nil})))
			for _, other := range []string{"iss", "aud", "jti", "iat", "exp", "sub"} {
				if other != name {
					mustRefuse(t, p, e.sign(t, good(c).with(claims{other: nil})), wantClaim, other)
				}
			}
			// What is there is checked as ever.
			mustRefuse(t, p, e.sign(t, good(c).with(claims{name: []any{}})), wantClaim, name)
		})
	}
	cfg := config(hmacKey("", "a"))
	cfg.Compat = jwt.Compat{Missing: []string{"iss", "aud", "jti", "iat"}, MaxTTL: 15 * time.Minute}
	p := open(t, c, cfg)
	bare := claims{"sub": "u-17", "exp": now + 60}
	if a := mustVerify(t, p, e.sign(t, bare)); !a.Identity.AuthTime.IsZero() {
		t.Errorf("auth time %v, which nobody said", a.Identity.AuthTime)
	}
	mustVerify(t, p, e.sign(t, good(c).with(claims{"exp": now + 900})))
	mustRefuse(t, p, e.sign(t, good(c).with(claims{"exp": now + 901})), wantTTL, "max_ttl")
	mustVerify(t, p, e.sign(t, bare.with(claims{"exp": now + 930})))
	mustRefuse(t, p, e.sign(t, bare.with(claims{"exp": now + 931})), wantTTL, "max_ttl")
	mustRefuse(t, p, e.sign(t, bare.with(claims{"exp": now - 30})), wantExpired, "it expired")
	mustRefuse(t, p, e.sign(t, claims{"sub": "u-17"}), wantClaim, `claim "exp" is missing`)
	mustRefuse(t, p, e.sign(t, bare.with(claims{"iss": "CANARY"})), wantClaim, "iss")
	mustRefuse(t, p, e.sign(t, bare.with(claims{"aud": "CANARY"})), wantClaim, "aud")
}

// FuzzEMB01_VerifyToken: whatever comes, the answer is one of the refusals, or the very token that was signed.
func FuzzEMB01_VerifyToken(f *testing.F) {
	c := newClock()
	e := hmacEmbedder("a")
	signed := e.sign(f, good(c))
	parts := strings.Split(signed, ".")
	p := open(f, c, config(hmacKey("", "a"), jwt.Key{PEM: publicPEM(f, rsaEmbedder(f).public)}))
	for _, seed := range []string{
		signed, "", "..", parts[0] + "." + parts[1] + ".", signed + "A", strings.ToUpper(signed),
		b64([]byte(`{"alg":"none"}`)) + "." + parts[1] + "." + parts[2],
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		a, err := p.VerifyToken(background(), raw)
		if err != nil {
			switch code := identity.CodeOf(err); code {
			case "jwt_malformed", "jwt_alg", "jwt_signature":
				checkRefusal(t, a, err, "", refusal{identity.ErrBadCredentials, code})
			default:
				t.Fatalf("refused with %v", err)
			}
			return
		}
		if raw != signed || a.Identity.Subject != "u-17" {
			t.Fatalf("accepted %q", raw)
		}
	})
}

// FuzzPayloads signs whatever the payload, and holds what is accepted to what the door promises.
func FuzzPayloads(f *testing.F) {
	c := newClock()
	e := hmacEmbedder("a")
	cfg := config(hmacKey("", "a"))
	cfg.Compat = jwt.Compat{Missing: []string{"iss", "aud", "jti", "iat"}}
	cfg.RolesKey = "a.roles"
	p := open(f, c, cfg)
	for _, seed := range []string{
		`{"sub":"x","exp":1800000060}`, `{"sub":"x","exp":1800000060,"a":{"roles":"x, y"},"a.roles":[]}`,
		`{"sub":"x","exp":1.8e9}`, `{"sub":"x","exp":1800000060,"a":{"b":[1,null,{}]},"amr":["pwd"]}`, `{"sub":{}}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, payload string) {
		a, err := p.VerifyToken(background(), e.raw(t, `{"alg":"HS256"}`, payload))
		if err != nil {
			if !slices.Contains([]string{
				"jwt_malformed", "jwt_claim", "jwt_ttl", "jwt_not_yet", "jwt_expired",
			}, identity.CodeOf(err)) {
				t.Fatalf("refused with %v", err)
			}
			return
		}
		if n := len(a.Identity.Subject); n == 0 || n > 255 || a.Identity.EmailVerified || a.Identity.Provider != "portal" {
			t.Fatalf("accepted %+v", a.Identity)
		}
		id, until, once, err := p.Once(a)
		if err != nil || !once || len(id) != len("jwt:")+43 || until.Before(c.now()) || until.After(c.now().Add(7*time.Minute)) {
			t.Fatalf("to be remembered as %q until %v, %v, %v", id, until, once, err)
		}
	})
}
