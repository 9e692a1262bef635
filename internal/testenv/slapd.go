package testenv

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Directory is a running OpenLDAP server with a few people and groups, on 127.0.0.1, with the overlays memberof (direct
// groups), ppolicy and refint.
//
// People under PeopleDN have the password NAME-directory-pass and the address NAME@example.test: alice, bob, carol,
// "o*b(x)", and three whom the password policy stops: locked, expired, mustchange. Groups under GroupsDN, by member:
// alice and o*b(x) in eng; eng and bob in platform; platform in staff; carol in ring-a, ring-a in ring-b, ring-b in
// ring-a.
type Directory struct {
	// URL speaks LDAP with StartTLS (also without); LDAPSURL speaks LDAPS.
	URL, LDAPSURL string
	// CAFile is the PEM file that verifies both.
	CAFile string
	// BaseDN is the root; PeopleDN and GroupsDN the two branches.
	BaseDN, PeopleDN, GroupsDN string
	// BindDN may read everything but passwords; AdminDN may do anything.
	BindDN, BindPassword, AdminDN, AdminPassword string
	// Process is the server; Start replaces it.
	Process *Process

	slapd, address, ldapi string
	dir                   string
}

// SlapdOption changes how Slapd starts.
type SlapdOption func(*slapdSetup)

type slapdSetup struct{ plain bool }

// SlapdWithoutTLS makes a server that knows no TLS: it refuses StartTLS, and LDAPSURL is empty.
func SlapdWithoutTLS(s *slapdSetup) { s.plain = true }

// Slapd starts an OpenLDAP server that goes with the test. It runs as the current user.
func Slapd(t testing.TB, options ...SlapdOption) *Directory {
	t.Helper()
	programs := Need(t, "slapd", "slapd", "slapadd", "ldapadd", "ldapmodify", "ldapdelete")
	var setup slapdSetup
	for _, option := range options {
		option(&setup)
	}
	d := newDirectory(t, programs[0])
	var files TLSFiles
	if !setup.plain {
		files = NewCA(t).Files(t, d.dir)
		d.CAFile, d.LDAPSURL = files.CA, fmt.Sprintf("ldaps://127.0.0.1:%d", Port(t))
	}
	d.write(t, "slapd.conf", d.conf(files))
	d.write(t, "base.ldif", d.people())
	if err := os.Mkdir(filepath.Join(d.dir, "db"), 0o700); err != nil {
		t.Fatal(err)
	}
	load := exec.Command(programs[1], "-q", "-f", d.path("slapd.conf"), "-l", d.path("base.ldif")) //nolint:gosec // test
	if out, err := load.CombinedOutput(); err != nil {
		t.Fatalf("slapadd: %v\n%s", err, out)
	}
	d.Start(t)
	d.Add(t, d.groups()) // over the wire: the memberof overlay does not run under slapadd
	return d
}

func newDirectory(t testing.TB, slapd string) *Directory {
	t.Helper()
	const base = "dc=example,dc=test"
	d := &Directory{
		BaseDN: base, PeopleDN: "ou=people," + base, GroupsDN: "ou=groups," + base,
		BindDN: "cn=svc,ou=system," + base, BindPassword: "svc-directory-pass",
		AdminDN: "cn=admin," + base, AdminPassword: "admin-directory-pass",
		slapd: slapd, dir: Dir(t), address: fmt.Sprintf("127.0.0.1:%d", Port(t)),
	}
	d.URL = "ldap://" + d.address
	d.ldapi = "ldapi://" + strings.ReplaceAll(d.path("socket"), "/", "%2F")
	return d
}

// Start starts the server again after Stop: same ports, same data.
func (d *Directory) Start(t testing.TB) {
	t.Helper()
	listen := strings.Join(strings.Fields(d.URL+" "+d.LDAPSURL+" "+d.ldapi), " ")
	// Level 256 (stats) tells of every connection and operation: tests look for binds that must not be there.
	d.Process = Start(t, d.dir, nil, d.slapd, "-d", "256", "-f", d.path("slapd.conf"), "-h", listen)
	d.Process.WaitPort(t, d.address)
}

// Stop ends the server. Its data stay.
func (d *Directory) Stop(t testing.TB) {
	t.Helper()
	d.Process.Stop()
}

// Log is what the server logged since it was started.
func (d *Directory) Log() string { return d.Process.Output() }

// Add adds entries, as the administrator.
func (d *Directory) Add(t testing.TB, ldif string) {
	t.Helper()
	d.client(t, ldif, "ldapadd")
}

// Modify runs LDIF change records (changetype modify, modrdn, delete …), as the administrator.
func (d *Directory) Modify(t testing.TB, ldif string) {
	t.Helper()
	d.client(t, ldif, "ldapmodify")
}

// Delete deletes entries, as the administrator.
func (d *Directory) Delete(t testing.TB, dns ...string) {
	t.Helper()
	d.client(t, "", "ldapdelete", dns...)
}

// client runs one of the ldap-utils over the local socket. -M: entries with referrals are entries.
func (d *Directory) client(t testing.TB, input, program string, args ...string) {
	t.Helper()
	path := Need(t, "slapd", program)[0]
	args = append([]string{"-M", "-x", "-H", d.ldapi, "-D", d.AdminDN, "-w", d.AdminPassword}, args...)
	cmd := exec.Command(path, args...) //nolint:gosec // test peers only
	cmd.Stdin = strings.NewReader(input)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", program, err, out)
	}
}

func (d *Directory) path(name string) string { return filepath.Join(d.dir, name) }

func (d *Directory) write(t testing.TB, name, content string) {
	t.Helper()
	if err := os.WriteFile(d.path(name), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (d *Directory) conf(files TLSFiles) string {
	tls := ""
	if files.CA != "" {
		tls = fmt.Sprintf("TLSCACertificateFile %s\nTLSCertificateFile %s\nTLSCertificateKeyFile %s\nTLSVerifyClient never\n",
			files.CA, files.Certificate, files.Key)
	}
	return strings.NewReplacer("DIR", d.dir, "BASE", d.BaseDN, "TLS\n", tls, "SVC", d.BindDN,
		"ADMINDN", d.AdminDN, "ADMINPW", d.AdminPassword).Replace(`include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
include /etc/ldap/schema/nis.schema
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload memberof
moduleload refint
moduleload ppolicy
pidfile DIR/slapd.pid
argsfile DIR/slapd.args
TLS
sizelimit size.soft=500 size.hard=1000 size.prtotal=unlimited
database mdb
suffix "BASE"
directory DIR/db
maxsize 67108864
dbnosync
rootdn "ADMINDN"
rootpw ADMINPW
index objectClass,entryCSN,entryUUID eq
index uid,mail,member,memberOf eq
access to attrs=userPassword by self write by anonymous auth by * none
access to dn.subtree="ou=groups,BASE" by users read by * none
access to * by dn.exact="SVC" read by self read by * none
overlay ppolicy
ppolicy_default "cn=default,ou=system,BASE"
ppolicy_use_lockout
overlay memberof
memberof-group-oc groupOfNames
memberof-refint TRUE
overlay refint
refint_attributes member
`)
}

func (d *Directory) people() string {
	var b strings.Builder
	fmt.Fprintf(&b, "dn: %s\nobjectClass: domain\ndc: example\n\n", d.BaseDN)
	for _, ou := range []string{"people", "groups", "system"} {
		fmt.Fprintf(&b, "dn: ou=%s,%s\nobjectClass: organizationalUnit\nou: %s\n\n", ou, d.BaseDN, ou)
	}
	fmt.Fprintf(&b, "dn: %s\nobjectClass: organizationalRole\nobjectClass: simpleSecurityObject\ncn: svc\nuserPassword: %s\n\n",
		d.BindDN, d.BindPassword)
	fmt.Fprintf(&b, "dn: cn=default,ou=system,%s\nobjectClass: device\nobjectClass: pwdPolicy\ncn: default\n"+
		"pwdAttribute: userPassword\npwdMaxAge: 31536000\npwdMustChange: TRUE\npwdLockout: TRUE\npwdMaxFailure: 50\n\n", d.BaseDN)
	for _, uid := range []string{"alice", "bob", "carol", "o*b(x)"} {
		b.WriteString(d.Person(uid))
	}
	b.WriteString(d.Person("locked", "pwdAccountLockedTime: 000001010000Z"))
	b.WriteString(d.Person("expired", "pwdChangedTime: 20200101000000Z"))
	b.WriteString(d.Person("mustchange", "pwdReset: TRUE"))
	return b.String()
}

// Person is the LDIF of a person with the usual password; lines are added as they are.
func (d *Directory) Person(uid string, lines ...string) string {
	return fmt.Sprintf("dn: uid=%s,%s\nobjectClass: inetOrgPerson\nuid: %s\ncn: %s Example\nsn: Example\n"+
		"mail: %s@example.test\nuserPassword: %s\n%s\n",
		uid, d.PeopleDN, uid, uid, uid, d.Password(uid), joinLines(lines))
}

// Password is a person's password.
func (d *Directory) Password(uid string) string { return uid + "-directory-pass" }

// Group is the LDIF of a group; members are DNs without the base.
func (d *Directory) Group(name string, members ...string) string {
	lines := make([]string, 0, len(members))
	for _, member := range members {
		lines = append(lines, "member: "+member+","+d.BaseDN)
	}
	return fmt.Sprintf("dn: cn=%s,%s\nobjectClass: groupOfNames\ncn: %s\n%s\n", name, d.GroupsDN, name, joinLines(lines))
}

func joinLines(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	return strings.Join(lines, "\n") + "\n"
}

// groups are added members first: memberof fills in nothing for a group that comes later.
func (d *Directory) groups() string {
	return d.Group("eng", "uid=alice,ou=people", "uid=o*b(x),ou=people") +
		d.Group("platform", "cn=eng,ou=groups", "uid=bob,ou=people") +
		d.Group("staff", "cn=platform,ou=groups") +
		d.Group("ring-a", "uid=carol,ou=people") +
		d.Group("ring-b", "cn=ring-a,ou=groups") +
		fmt.Sprintf("dn: cn=ring-a,%s\nchangetype: modify\nadd: member\nmember: cn=ring-b,%s\n\n", d.GroupsDN, d.GroupsDN)
}
