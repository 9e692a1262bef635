package configs

import "maps"

// descriptions are the sentences of the schema, by dotted key; * stands for the entries of a map or list. A test holds
// them against the structs, so that no key is without one and none speaks of a key that is gone.
func descriptions() map[string]string {
	all := ownDescriptions()
	for _, at := range []string{"profiles.*.claims.*", "applications.*.claims.*"} {
		maps.Copy(all, claimDescriptions(at))
	}
	return all
}

func claimDescriptions(at string) map[string]string {
	return map[string]string{
		at + ".from":     "Where its value comes from; a claim that is this word alone means this key.",
		at + ".value":    "A fixed text, in place of from.",
		at + ".shape":    "list, comma or space (one string), or string (one of them) for roles and permissions.",
		at + ".rename":   "Value of ours to what the application calls it; others stay as they are.",
		at + ".only":     "Roles or permissions that the application gets to see; empty: all.",
		at + ".prefer":   "With shape string: the first of these that somebody has; without, the first of the alphabet.",
		at + ".template": "Spells each value: {value}, and of a permission {resource} and {action}.",
	}
}

func ownDescriptions() map[string]string {
	return map[string]string{
		"server":                   "How this server is reached. SALLYPORT_SERVER_… variables override single values.",
		"server.issuer":            "URL of this server, issuer of its tokens: https, or http on this machine; no path.",
		"server.listen":            "host:port to listen on.",
		"server.operations_listen": "host:port of health and metrics; \"\" switches them off.",
		"server.tls":               "Terminate TLS here. Both files or none.",
		"server.tls.certificate":   "PEM file with the certificate chain, relative to this file.",
		"server.tls.key":           "PEM file with the private key, relative to this file.",
		"server.trusted_proxies":   "Addresses or networks (CIDR) of proxies whose forwarded headers count.",

		"storage":                          "Where data is kept. SALLYPORT_STORAGE_… variables override single values.",
		"storage.sqlite":                   "The embedded database.",
		"storage.sqlite.path":              "Database file, relative to this file.",
		"storage.postgres":                 "A PostgreSQL server, in the place of the embedded database when its url is set.",
		"storage.postgres.url":             "postgres://user:password@host:port/database?sslmode=verify-full as env:NAME or file:path.",
		"storage.postgres.notifications":   "Wake other nodes at once; without it they look each second.",
		"storage.postgres.max_connections": "Connections of this node, 4 to 1000.",
		"storage.master_key":               "Seals secrets at rest, env:NAME or file:path; default: master.key next to the database.",

		"login":                  "Which provider gets a typed name.",
		"login.default_provider": "For names no domain rule covers; default: the only provider that takes passwords.",
		"login.domains":          "E-mail domain of the typed name, in lower case, to provider id.",

		"session":                   "How long a sign-in holds.",
		"session.idle":              "Ends a sign-in when nobody was seen for so long.",
		"session.lifetime":          "Ends a sign-in in any case.",
		"session.concurrent":        "How many somebody may have at a time; 0: as many as they like.",
		"session.at_limit":          "One more ends the oldest (end_oldest) or is refused (refuse).",
		"session.address_change":    "When it is used from another network: ignore, audit, reauthenticate (opens nothing there), end.",
		"session.confirm_by_email":  "A sign-in waits until a code that went by e-mail is typed in; needs mail.",
		"session.remember":          "For those who ask that their browser remember them; offered when its lifetime is set.",
		"session.remember.idle":     "Ends it when nobody was seen for so long; default: its lifetime.",
		"session.remember.lifetime": "Ends it in any case.",

		"branding":         "What people read on the pages.",
		"branding.title":   "Name of this house.",
		"branding.support": "Where people find help: a mailto: or https:// URL, or a sentence.",

		"log":        "The log, on standard error.",
		"log.level":  "What is logged at least.",
		"log.format": "For people (text) or for programs (json).",

		"providers":                     "The doors people come through, by id.",
		"providers.*.type":              "Kind of provider; decides which other keys there are.",
		"providers.*.title":             "What people read on the button; default: the id.",
		"providers.*.username_conflict": "A newcomer whose name is taken gets name@id (qualify) or is refused (refuse).",
		"providers.*.disabled":          "Takes it out of service: nobody comes in by it, its people's sessions end.",

		"roles":               "Roles by name. A role that is not declared here is never granted.",
		"roles.*.inherits":    "Roles that come along.",
		"roles.*.permissions": "resource:action, with * for any; no wildcard covers the resource sallyport.",

		"mapping":                      "The way from groups and claims to roles.",
		"mapping.default_roles":        "For those whom no rule gave a role; empty refuses them.",
		"mapping.rules":                "A set: what matches is united, deny wins, order means nothing.",
		"mapping.rules.*.provider":     "Provider id the rule speaks of, or * for all.",
		"mapping.rules.*.group":        "Group name, compared byte for byte.",
		"mapping.rules.*.group_dn":     "Group as a distinguished name; case, spaces and escapes do not count.",
		"mapping.rules.*.group_glob":   "Group pattern with * and ? over the whole name.",
		"mapping.rules.*.group_regex":  "RE2 expression over the whole name.",
		"mapping.rules.*.claim":        "Dotted path of a claim; needs equals.",
		"mapping.rules.*.equals":       "Values of the claim that match.",
		"mapping.rules.*.roles":        "Roles granted when the condition holds.",
		"mapping.rules.*.copy":         "Claim (or groups) whose values are role names.",
		"mapping.rules.*.strip_prefix": "Copied values must begin with this; the rest is the role name.",
		"mapping.rules.*.only":         "The only roles that may be copied.",
		"mapping.rules.*.deny":         "Takes all roles away when the condition holds.",

		"profiles":                         "Dialects of applications, by name: what differs from the built-in one, default.",
		"profiles.*.claims":                "Claims of tokens by name: a source or a block; nothing leaves one out.",
		"profiles.*.cookie":                "The cookie of an application on its own host.",
		"profiles.*.cookie.name":           "Its name; default: __Host-sallyport-ID, or __Secure-sallyport-ID with domain.",
		"profiles.*.cookie.value":          "opaque, or token: the application's token itself.",
		"profiles.*.cookie.domain":         "Parent of the application's host; every host below gets the cookie.",
		"profiles.*.cookie.same_site":      "lax, or strict: stays behind when somebody follows a link from another site.",
		"profiles.*.cookie.refresh_below":  "How little of its token's life may be left before it is renewed; 0s: never.",
		"profiles.*.api_key":               "How API keys travel.",
		"profiles.*.api_key.prefix":        "Begins new keys for the application; default: api_keys.prefix.",
		"profiles.*.api_key.headers":       "Headers that keys may come in; Authorization stands for its scheme Bearer.",
		"profiles.*.api_key.secret_header": "Where the secret half travels when a key comes in two headers.",
		"profiles.*.refresh":               "How tokens are renewed.",
		"profiles.*.refresh.ends_token":    "The access token of before dies when its refresh token is used.",
		"profiles.*.token_query":           "Parameter of an address that a WebSocket may bring its token in; a ticket is better.",

		"applications":                            "The applications behind this server, by id.",
		"applications.*.title":                    "What people read; default: the id.",
		"applications.*.url":                      "Where its pages are, on a host of its own; none: API clients only.",
		"applications.*.require":                  "Roles of which a person needs one; empty: everybody who may sign in.",
		"applications.*.audience":                 "aud of its tokens; default: the id.",
		"applications.*.profile":                  "Its dialect.",
		"applications.*.claims":                   "Claims of its tokens by name, in the place of the profile's.",
		"applications.*.algorithm":                "Signs its tokens. HS256 needs secret.",
		"applications.*.secret":                   "HS256 only: env:NAME or file:path of at least 32 bytes.",
		"applications.*.former_secrets":           "HS256 only: secrets of before, which still verify and sign nothing.",
		"applications.*.signing_key":              "shared, or pinned: a key of its own that only an administrator changes.",
		"applications.*.token_lifetime":           "How long its tokens are valid, 1m to 24h.",
		"applications.*.session":                  "Sign-in at the application; default: as session above.",
		"applications.*.session.idle":             "Ends it when nobody was seen for so long.",
		"applications.*.session.lifetime":         "Ends it in any case.",
		"applications.*.session.concurrent":       "How many somebody may have at a time; 0: as many as they like.",
		"applications.*.session.at_limit":         "One more ends the oldest (end_oldest) or is refused (refuse).",
		"applications.*.session.address_change":   "When it is used from another network; default: as session above.",
		"applications.*.session.confirm_by_email": "A sign-in waits for a code by e-mail; default: as session above.",
		"applications.*.forward_token":            "Forward-auth hands the application a JWT in X-Auth-Token.",

		"applications.*.upstream":                "Its own server, when it stands behind the gateway.",
		"applications.*.upstream.url":            "http or https, host and port; requests keep their path.",
		"applications.*.upstream.ca_file":        "PEM file of the authorities to trust instead of the system's.",
		"applications.*.upstream.pass_host":      "Hand on the Host header as the client sent it.",
		"applications.*.upstream.header_timeout": "How long it may take to begin an answer.",
		"applications.*.rules":                   "Of the rules that fit, those with the longest path count; one must allow.",
		"applications.*.rules.*.path":            "A prefix when it ends in /, else that one path.",
		"applications.*.rules.*.methods":         "Methods that it allows; empty: all. GET stands for HEAD too.",
		"applications.*.rules.*.carriers":        "Credentials that it allows: cookie, bearer, key; empty: all.",
		"applications.*.rules.*.require":         "Roles of which one is needed, beside the application's.",
		"applications.*.rules.*.public":          "Lets everybody in, whoever they are.",
		"applications.*.rules.*.rate":            "Limits each session, key and unknown address.",
		"applications.*.rules.*.rate.requests":   "How many requests.",
		"applications.*.rules.*.rate.per":        "In how long, 1s to 24h.",

		"embedding":                              "Applications whose pages frame others and vouch for people.",
		"embedding.embedders":                    "By id: a-z, 0-9 and -, at most 32.",
		"embedding.embedders.*.display_name":     "What people read; default: the id.",
		"embedding.embedders.*.enabled":          "false closes it; its sessions end.",
		"embedding.embedders.*.relation":         "proxied (one origin), same_site or cross_site.",
		"embedding.embedders.*.origins":          "Where its pages are: scheme, host and port, nothing else.",
		"embedding.embedders.*.applications":     "Applications that its pages may frame.",
		"embedding.embedders.*.provider":         "The jwt provider that verifies its tokens.",
		"embedding.embedders.*.max_roles":        "The only roles that anybody gets through it; default: no cap.",
		"embedding.embedders.*.session":          "How long a frame stays open.",
		"embedding.embedders.*.session.idle":     "Ends it when nobody was seen for so long.",
		"embedding.embedders.*.session.absolute": "Ends it in any case.",
		"embedding.embedders.*.mount":            "proxied only: path of the origin that the application is below.",
		"embedding.embedders.*.compat_global":    "One more window property with setJWTToken.",
		"embedding.embedders.*.debug":            "Tells the page's developer more about refusals than a code.",

		"api_keys":                  "API keys people make for themselves.",
		"api_keys.default_lifetime": "Of a new key when nothing else is asked for.",
		"api_keys.max_lifetime":     "The longest that may be asked for.",
		"api_keys.prefix":           "Begins every key, so that scanners recognise them.",
		"api_keys.never_expire":     "A key without an end may be asked for.",
		"api_keys.confirm_by_email": "A new key waits until a code that went by e-mail is typed in; needs mail.",

		"throttle":                        "Bounds guessing.",
		"throttle.window":                 "How long a failed sign-in counts, 1m to 24h.",
		"throttle.per_account_and_source": "How often one name may fail from one address, 1 to 100; of IPv6, from one /64.",
		"throttle.per_account":            "How often one name may fail from everywhere together, 1 to 100.",
		"throttle.per_source":             "How often one address may fail, whatever the names.",
		"throttle.requests_per_minute":    "Of one address that nobody is signed in with, on each node; 0: no limit.",

		"signing_keys":                "How long a key signs.",
		"signing_keys.rotate_every":   "When the next one takes over, 1h to 17520h; 0s: when an administrator says so.",
		"signing_keys.publish_before": "How long a key is published before it signs, at least.",

		"mail":          "The server that takes our mail; without its host there is none.",
		"mail.host":     "Its name or address.",
		"mail.port":     "Its port.",
		"mail.tls":      "starttls, tls from the first byte, or none.",
		"mail.ca_file":  "PEM file of the authorities to trust instead of the system's.",
		"mail.username": "Signs in there; with password, or neither.",
		"mail.password": "env:NAME or file:path.",
		"mail.from":     "The sender: an address, or Name <address>.",
	}
}
