package secretfile

import (
	"fmt"

	"sallyport/cmd/internal/textfile"
)

// MaxSecret is the largest text with a single secret, in bytes.
const MaxSecret = 4096

// Parse returns the secret of a text, by the rules of ReadOne. Errors name its source, and
// repeat nothing of it.
func Parse(source string, text []byte) (string, error) {
	if len(text) > MaxSecret {
		return "", fmt.Errorf("%s: expected one secret of at most %d bytes, got more", source, MaxSecret)
	}
	text, err := textfile.Decode(source, text)
	if err != nil {
		return "", err
	}
	s, err := oneLine(string(text))
	if err != nil {
		return "", fmt.Errorf("%s: %w", source, err)
	}
	return s, nil
}
