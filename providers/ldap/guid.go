package ldap

import (
	"encoding/hex"
	"fmt"
	"strings"
)

// A GUID's first three fields are stored little-endian, and printed big-endian ([MS-DTYP] section 2.3.4). order maps the
// printed bytes to the stored ones; it is its own inverse.
func guidOrder() [16]int {
	return [16]int{3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15}
}

// guidText prints a stored objectGUID as Microsoft's tools do: lower case, in groups of 8-4-4-4-12.
func guidText(stored []byte) (string, error) {
	if len(stored) != 16 {
		return "", fmt.Errorf("objectGUID has %d bytes instead of 16", len(stored))
	}
	var printed [16]byte
	for i, from := range guidOrder() {
		printed[i] = stored[from]
	}
	h := hex.EncodeToString(printed[:])
	return strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:]}, "-"), nil
}

// guidBytes is the inverse of guidText.
func guidBytes(text string) ([]byte, error) {
	if len(text) != 36 || text[8] != '-' || text[13] != '-' || text[18] != '-' || text[23] != '-' {
		return nil, fmt.Errorf("%q is not a GUID", clip(text))
	}
	printed, err := hex.DecodeString(strings.ReplaceAll(text, "-", ""))
	if err != nil || len(printed) != 16 {
		return nil, fmt.Errorf("%q is not a GUID", clip(text))
	}
	stored := make([]byte, 16)
	for i, to := range guidOrder() {
		stored[to] = printed[i]
	}
	return stored, nil
}
