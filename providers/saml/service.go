package saml

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/beevik/etree"

	"sallyport/providers"
)

// EntityID returns our entity id towards the provider with this id: the address of our metadata, which stands beside the
// assertion consumer service: …/saml/ID/acs and …/saml/ID/metadata. Another address is an error.
func EntityID(id, acsURL string) (string, error) {
	if err := providers.CheckBareURL(acsURL); err != nil {
		return "", fmt.Errorf("saml: the acs url %w", err)
	}
	base, ok := strings.CutSuffix(acsURL, "/saml/"+id+"/acs")
	if !ok || id == "" {
		return "", errors.New("saml: the acs url does not end in /saml/" + id + "/acs")
	}
	return base + "/saml/" + id + "/metadata", nil
}

// ServiceMetadata returns our own metadata as this provider needs it (saml-metadata section 2.4.4): XML that describes the
// service provider entityID with its one assertion consumer service, and the keys that are configured. A malformed
// address is an error.
func (p *Provider) ServiceMetadata(entityID, acsURL string) ([]byte, error) {
	for _, address := range []struct{ name, value string }{{"entity id", entityID}, {"acs url", acsURL}} {
		if err := providers.CheckBareURL(address.value); err != nil {
			return nil, fmt.Errorf("saml: the %s %w", address.name, err)
		}
	}
	doc := etree.NewDocument()
	doc.CreateProcInst("xml", `version="1.0" encoding="UTF-8"`)
	entity := doc.CreateElement("md:EntityDescriptor")
	entity.CreateAttr("xmlns:md", nsMetadata)
	entity.CreateAttr("entityID", entityID)
	role := entity.CreateElement("md:SPSSODescriptor")
	role.CreateAttr("AuthnRequestsSigned", fmt.Sprint(p.signing != nil))
	role.CreateAttr("WantAssertionsSigned", "true")
	role.CreateAttr("protocolSupportEnumeration", nsProtocol)
	if p.signing != nil {
		describeKey(role, "signing", *p.signing)
	}
	for _, pair := range p.decryption {
		describeMethods(describeKey(role, "encryption", pair), p.config.AllowCBC)
	}
	if format := nameFormat(p.config.NameIDFormat); format != "" {
		role.CreateElement("md:NameIDFormat").SetText(format)
	}
	acs := role.CreateElement("md:AssertionConsumerService")
	acs.CreateAttr("Binding", bindingPOST)
	acs.CreateAttr("Location", acsURL)
	acs.CreateAttr("index", "0")
	acs.CreateAttr("isDefault", "true")
	doc.Indent(2)
	return doc.WriteToBytes()
}

// describeKey says which key of ours is for what.
func describeKey(role *etree.Element, use string, pair keyPair) *etree.Element {
	descriptor := role.CreateElement("md:KeyDescriptor")
	descriptor.CreateAttr("use", use)
	info := descriptor.CreateElement("ds:KeyInfo")
	info.CreateAttr("xmlns:ds", nsDsig)
	info.CreateElement("ds:X509Data").CreateElement("ds:X509Certificate").
		SetText(base64.StdEncoding.EncodeToString(pair.certificate.Raw))
	return descriptor
}

// describeMethods lists what is decrypted, best first. A provider that reads it does not send what is refused.
func describeMethods(descriptor *etree.Element, cbc bool) {
	methods := []string{
		nsEncryption11 + "aes256-gcm", nsEncryption11 + "aes192-gcm", nsEncryption11 + "aes128-gcm", algOAEPSHA1, algOAEP,
	}
	if cbc {
		methods = append(methods, nsEncryption+"aes256-cbc", nsEncryption+"aes128-cbc")
	}
	for _, algorithm := range methods {
		descriptor.CreateElement("md:EncryptionMethod").CreateAttr("Algorithm", algorithm)
	}
}
