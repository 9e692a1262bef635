package configs

// descriptions are the sentences of the schema, by dotted key; * stands for the entries of a map or list. A test holds
// them against the structs, so that no key is without one and none speaks of a key that is gone.
func descriptions() map[string]string {
	return map[string]string{
		"server":                   "How this server is reached. SALLYPORT_SERVER_… variables override single values.",
		"server.issuer":            "URL of this server, issuer of its tokens: https, or http on this machine; no path.",
		"server.listen":            "host:port to listen on.",
		"server.operations_listen": "host:port of health and metrics; \"\" switches them off.",
		"server.tls":               "Terminate TLS here. Both files or none.",
		"server.tls.certificate":   "PEM file with the certificate chain, relative to this file.",
		"server.tls.key":           "PEM file with the private key, relative to this file.",
		"server.trusted_proxies":   "Addresses or networks (CIDR) of proxies whose forwarded headers count.",

		"storage":             "Where data is kept. SALLYPORT_STORAGE_… variables override single values.",
		"storage.sqlite":      "The embedded database.",
		"storage.sqlite.path": "Database file, relative to this file.",
		"storage.master_key":  "Seals secrets at rest, env:NAME or file:path; default: master.key next to the database.",

		"login":                  "Which provider gets a typed name.",
		"login.default_provider": "For names no domain rule covers; default: the only provider that takes passwords.",
		"login.domains":          "E-mail domain of the typed name, in lower case, to provider id.",

		"session":          "How long a sign-in holds.",
		"session.idle":     "Ends a sign-in when nobody was seen for so long.",
		"session.lifetime": "Ends a sign-in in any case.",

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

		"applications":                    "The applications behind this server, by id.",
		"applications.*.title":            "What people read; default: the id.",
		"applications.*.url":              "Where its pages are, on a host of its own; none: API clients only.",
		"applications.*.require":          "Roles of which a person needs one; empty: everybody who may sign in.",
		"applications.*.audience":         "aud of its tokens; default: the id.",
		"applications.*.profile":          "Its dialect.",
		"applications.*.algorithm":        "Signs its tokens. HS256 needs secret.",
		"applications.*.secret":           "HS256 only: env:NAME or file:path of at least 32 bytes.",
		"applications.*.token_lifetime":   "How long its tokens are valid, 1m to 24h.",
		"applications.*.session":          "Sign-in at the application; default: as session above.",
		"applications.*.session.idle":     "Ends it when nobody was seen for so long.",
		"applications.*.session.lifetime": "Ends it in any case.",
		"applications.*.forward_token":    "Forward-auth hands the application a JWT in X-Auth-Token.",

		"api_keys":                  "API keys people make for themselves.",
		"api_keys.default_lifetime": "Of a new key when nothing else is asked for.",
		"api_keys.max_lifetime":     "The longest that may be asked for.",
		"api_keys.prefix":           "Begins every key, so that scanners recognise them.",
	}
}
