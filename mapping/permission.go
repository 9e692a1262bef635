package mapping

import "strings"

// Reserved is the resource of the broker's own administration. Only a permission that spells it out covers it.
const Reserved = "sallyport"

// Allows reports whether the permissions held cover the wanted one. Both sides are resource:action; "*" in have stands
// for any resource or any action, except that no wildcard resource covers Reserved. What is no permission allows
// nothing and is allowed by nothing.
func Allows(have []string, want string) bool {
	wantResource, wantAction, ok := splitPermission(want)
	if !ok {
		return false
	}
	for _, h := range have {
		resource, action, ok := splitPermission(h)
		if ok && coversResource(resource, wantResource) && (action == "*" || action == wantAction) {
			return true
		}
	}
	return false
}

// coversResource: without the exception, an application's "*:*" administrator would administer the broker.
func coversResource(have, want string) bool {
	return have == want || (have == "*" && want != Reserved)
}

// splitPermission cuts resource:action; each half is "*" or made of [a-z0-9_.-].
func splitPermission(p string) (resource, action string, ok bool) {
	resource, action, ok = strings.Cut(p, ":")
	return resource, action, ok && isPermissionWord(resource) && isPermissionWord(action)
}

func isPermissionWord(w string) bool {
	if w == "*" {
		return true
	}
	for i := range len(w) {
		c := w[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' && c != '.' && c != '-' {
			return false
		}
	}
	return w != "" && len(w) <= 64
}

// isReserved reports whether p speaks of the broker's own administration.
func isReserved(p string) bool {
	resource, _, ok := splitPermission(p)
	return ok && resource == Reserved
}
