package main

import (
	"bytes"
	_ "embed"
	"os"
	"path/filepath"
	"text/template"
)

//go:embed demo.yaml
var demoYAML string

// writeConfig makes the same kind of file an administrator writes, with the secrets beside it.
func (d *demo) writeConfig() (string, error) {
	t, err := template.New("demo.yaml").Parse(demoYAML)
	if err != nil {
		return "", err
	}
	var config bytes.Buffer
	err = t.Execute(&config, map[string]any{
		"Issuer": d.line.Issuer, "Listen": d.line.Dial, "Portal": d.line.portal(),
		"DirectoryDomain": directoryDomain, "PartnerDomain": partnerDomain, "CampusDomain": campusName,
		"DirectoryURL": d.directory.URL, "BindDN": d.directory.BindDN, "PeopleDN": d.directory.PeopleDN, "GroupsDN": d.directory.GroupsDN,
		"PartnerIssuer": d.partner.Issuer(), "CampusMetadata": d.campus.MetadataURL(), "LiveURL": d.live.URL(),
		"App": "http://" + d.apps[0].host + "/", "Reports": "http://" + d.apps[1].host + "/", "Live": "http://" + d.apps[2].host + "/",
	})
	if err != nil {
		return "", err
	}
	files := map[string]string{
		"ca.pem": string(d.directory.CAPEM), "ldap.secret": d.directory.BindPassword, "oidc.secret": d.secret,
		"portal.key": d.portal.Key(), "sallyport.yaml": config.String(),
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(d.dir, name), []byte(content), 0o600); err != nil {
			return "", err
		}
	}
	return filepath.Join(d.dir, "sallyport.yaml"), nil
}
