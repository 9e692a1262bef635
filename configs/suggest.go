package configs

import (
	"fmt"
	"strings"

	"sallyport/mapping"
)

// maxListed is how many possibilities a message lists before it becomes noise.
const maxListed = 30

// suggestion ends a sentence about an unknown word: with the nearest known one, or with all of them.
func suggestion(word string, known []string) string {
	if near := mapping.Nearest(word, known); near != "" {
		return fmt.Sprintf("; did you mean %q?", near)
	}
	switch {
	case len(known) == 0:
		return "; there are none"
	case len(known) > maxListed:
		return ""
	default:
		return "; expected one of " + strings.Join(known, ", ")
	}
}
