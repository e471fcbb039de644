// Package textfile decodes the text of files that people and other programs write:
// it passes a byte order mark over, and names UTF-16 and UTF-32.
package textfile

import (
	"bytes"
	"fmt"
)

// EncodingError is the error of a text in another encoding than UTF-8.
type EncodingError struct {
	Path     string
	Encoding string
}

func (e *EncodingError) Error() string {
	return fmt.Sprintf("%s: expected UTF-8 text, got %s", e.Path, e.Encoding)
}

// Hint returns what to do.
func (e *EncodingError) Hint() string {
	if e.Encoding == notText {
		return "the file is not a text, or is damaged: write it again"
	}
	return "save the file as UTF-8 (PowerShell: Set-Content -Encoding utf8), or convert it: iconv -f " +
		e.Encoding + " -t UTF-8"
}

// notText is the encoding of a text with NUL bytes that is none of the others.
const notText = "text with NUL bytes"

var mark = []byte("\ufeff")

// Decode returns the text without a byte order mark at its beginning. The error is
// an EncodingError.
func Decode(path string, text []byte) ([]byte, error) {
	if encoding := encodingOf(text); encoding != "" {
		return nil, &EncodingError{path, encoding}
	}
	return bytes.TrimPrefix(text, mark), nil
}

// encodingOf returns the encoding of a text; empty: it may be UTF-8. Without a byte
// order mark, the NUL bytes of the ASCII characters show it.
func encodingOf(text []byte) string {
	for _, known := range []struct{ mark, name string }{
		{"\xff\xfe\x00\x00", "UTF-32LE"}, {"\x00\x00\xfe\xff", "UTF-32BE"},
		{"\xff\xfe", "UTF-16LE"}, {"\xfe\xff", "UTF-16BE"},
	} {
		if bytes.HasPrefix(text, []byte(known.mark)) {
			return known.name
		}
	}
	if bytes.IndexByte(text, 0) < 0 {
		return ""
	}
	var nul [4]int // of the bytes at each place in four
	for i, c := range text {
		if c == 0 {
			nul[i%4]++
		}
	}
	many := max(1, len(text)/8)
	switch {
	case nul[1] >= many && nul[2] >= many && nul[3] >= many:
		return "UTF-32LE"
	case nul[0] >= many && nul[1] >= many && nul[2] >= many:
		return "UTF-32BE"
	case nul[1]+nul[3] >= many && nul[0]+nul[2] == 0:
		return "UTF-16LE"
	case nul[0]+nul[2] >= many && nul[1]+nul[3] == 0:
		return "UTF-16BE"
	}
	return notText
}
