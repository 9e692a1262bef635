package jwt

import (
	"errors"
	"fmt"
	"strings"

	"sallyport/identity"
	"sallyport/providers"
	"sallyport/tokens/jws"
)

// identity reads what a verified payload says about the person. Errors hold names of claims that are configured, never
// anything of the token.
func (p *Provider) identity(claims jws.Claims) (identity.Identity, error) {
	who := identity.Identity{Provider: p.info.ID}
	subject, err := providers.LookUp(claims, p.config.SubjectKey)
	switch {
	case err != nil:
		return who, fmt.Errorf("claim %q: %w", p.config.SubjectKey, err)
	case subject == nil:
		return who, fmt.Errorf("claim %q is missing", p.config.SubjectKey)
	}
	who.Subject, err = jws.Claims{"value": subject}.String("value")
	if err != nil || !isPlain(who.Subject, maxSubject) {
		return who, fmt.Errorf(
			"claim %q is empty, longer than %d bytes or no plain text", p.config.SubjectKey, maxSubject)
	}
	for _, c := range []struct {
		path string
		into *string
	}{{p.config.UsernameKey, &who.Username}, {p.config.NameKey, &who.Name}, {p.config.EmailKey, &who.Email}} {
		if *c.into, err = providers.TextAt(claims, c.path); err != nil {
			return who, err
		}
	}
	if who.Groups, err = rolesAt(claims, p.config.RolesKey); err != nil {
		return who, err
	}
	if who.AMR, err = claims.Strings("amr"); err != nil {
		return who, errors.New("claim \"amr\" is no list of strings")
	}
	who.Attributes, err = providers.Attributes(claims, protocolClaims())
	return who, err
}

// rolesAt reads the groups in the shapes that embedding applications write them: a list, whose elements are taken as
// they are, or one string. A comma separates before a space does, so that names may have spaces in them. Each group
// counts once, in the order given.
func rolesAt(claims jws.Claims, path string) ([]string, error) {
	raw, err := providers.LookUp(claims, path)
	if err != nil {
		return nil, fmt.Errorf("claim %q: %w", path, err)
	}
	if raw == nil {
		return nil, nil
	}
	all, err := jws.Claims{"value": raw}.Strings("value")
	if err != nil {
		return nil, fmt.Errorf("claim %q is neither a list of strings nor a string", path)
	}
	if raw[0] == '"' {
		all = separate(all[0])
	}
	groups := make([]string, 0, len(all))
	seen := make(map[string]bool, len(all))
	for _, g := range all {
		if g != "" && !seen[g] {
			seen[g] = true
			groups = append(groups, g)
		}
	}
	return groups, nil
}

func separate(text string) []string {
	if !strings.Contains(text, ",") {
		return strings.Fields(text)
	}
	parts := strings.Split(text, ",")
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
	}
	return parts
}
