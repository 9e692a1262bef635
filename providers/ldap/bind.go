package ldap

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	goldap "github.com/go-ldap/ldap/v3"
)

// bind proves a password. It is the only place that binds and the only one that reads a bind's result: nil means that
// the password is right and may be used; a *refusal, that it may not; anything else, that nothing was learned.
func (c *conn) bind(ctx context.Context, dn, password string) error {
	// Both would succeed on many servers without proving anything (RFC 4513 sections 5.1.1 and 5.1.2).
	if password == "" {
		return &refusal{reason: "empty password"}
	}
	if strings.TrimSpace(dn) == "" {
		return &answer{code: goldap.LDAPResultInvalidDNSyntax, text: "the entry has no DN"}
	}
	var result *goldap.SimpleBindResult
	err := c.do(ctx, func() (err error) {
		// Without this control OpenLDAP says neither that a password has expired nor that it must be changed first; and
		// in the second case the bind succeeds.
		policy := goldap.NewControlBeheraPasswordPolicy()
		result, err = c.ldap.SimpleBind(goldap.NewSimpleBindRequest(dn, password, []goldap.Control{policy}))
		return err
	})
	return verdict(result, err)
}

// verdict decides what a bind's result means.
func verdict(result *goldap.SimpleBindResult, err error) error {
	policy := policyReason(result)
	var a *answer
	switch {
	case err == nil && policy == "":
		return nil
	case err == nil:
		return &refusal{reason: policy}
	case !errors.As(err, &a):
		return fmt.Errorf("bind: %w", err)
	}
	switch a.code {
	case goldap.LDAPResultInvalidCredentials:
		return &refusal{reason: or(policy, or(activeDirectoryReason(a.text), "wrong password"))}
	case goldap.LDAPResultConstraintViolation:
		// 389 Directory Server after too many wrong passwords.
		return &refusal{reason: "locked after wrong passwords"}
	case goldap.LDAPResultNoSuchObject, goldap.LDAPResultInvalidDNSyntax, goldap.LDAPResultInappropriateAuthentication:
		return &refusal{reason: "no such entry, or one without a password"}
	case goldap.LDAPResultUnwillingToPerform:
		// 389 Directory Server and FreeIPA answer so, whatever the password, when an account is disabled.
		if strings.Contains(strings.ToLower(a.text), "account inactivated") {
			return &refusal{reason: "account disabled"}
		}
	}
	return fmt.Errorf("bind: %w", err)
}

// policyReason reads what the server's password policy says (draft-behera-ldap-password-policy, and the older
// draft-vchu-ldap-pwd-policy); empty when it has no objection.
func policyReason(result *goldap.SimpleBindResult) string {
	if result == nil {
		return ""
	}
	for _, control := range result.Controls {
		switch c := control.(type) {
		case *goldap.ControlBeheraPasswordPolicy:
			switch {
			case c.Error == goldap.BeheraPasswordExpired:
				return "password expired"
			case c.Error == goldap.BeheraAccountLocked:
				return "account locked"
			case c.Error == goldap.BeheraChangeAfterReset:
				return "password must be changed"
			case c.Error >= 0:
				return "password policy: " + clip(c.ErrorString)
			}
		case *goldap.ControlVChuPasswordMustChange:
			return "password must be changed"
		}
	}
	return ""
}

// activeDirectoryReason reads the Windows error in the text of result 49, "… AcceptSecurityContext error, data 52e, …".
func activeDirectoryReason(text string) string {
	found := regexp.MustCompile(`(?i)AcceptSecurityContext error, data ([0-9a-f]{1,8})\b`).FindStringSubmatch(text)
	if found == nil {
		return ""
	}
	switch strings.ToLower(found[1]) {
	case "525":
		return "no such user"
	case "52e":
		return "wrong password"
	case "530", "531":
		return "not allowed at this time or place"
	case "532":
		return "password expired"
	case "533":
		return "account disabled"
	case "701":
		return "account expired"
	case "773":
		return "password must be changed"
	case "775":
		return "account locked"
	}
	return "active directory error " + strings.ToLower(found[1])
}
