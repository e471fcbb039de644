package secretfile

import (
	"errors"
	"strings"
	"unicode/utf8"

	"sallyport/sessions/client/profilefile"
)

// oneLine returns the secret of a text.
func oneLine(text string) (string, error) {
	s := text
	for {
		shorter, ok := strings.CutSuffix(s, "\n")
		if !ok {
			break
		}
		s = strings.TrimSuffix(shorter, "\r")
	}
	switch {
	case s == "" && text == "":
		return "", errors.New("expected a secret, but the file is empty")
	case strings.TrimSpace(s) == "":
		return "", errors.New("expected a secret, but the file has only blanks")
	case !utf8.ValidString(s):
		return "", errors.New("expected UTF-8 text, got other bytes")
	case strings.Contains(s, "\n"):
		return "", errors.New("expected one secret on a single line, got several lines")
	}
	if fault := profilefile.SecretFault(s); fault != "" {
		return "", errors.New("expected a secret without blanks around it, got " + fault)
	}
	return s, nil
}
