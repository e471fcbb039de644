package textfile

import (
	"encoding/binary"
	"errors"
	"strings"
	"testing"
	"unicode/utf16"
)

func utf16Of(text string, order binary.AppendByteOrder) []byte {
	var b []byte
	for _, u := range utf16.Encode([]rune(text)) {
		b = order.AppendUint16(b, u)
	}
	return b
}

func TestDecode(t *testing.T) {
	const text = "server = \"gäte\"\n"
	for _, good := range []string{text, "\ufeff" + text} {
		if got, err := Decode("f", []byte(good)); err != nil || string(got) != text {
			t.Errorf("%q: %q, %v", good, got, err)
		}
	}
	if got, err := Decode("f", nil); err != nil || len(got) != 0 {
		t.Errorf("an empty file: %q, %v", got, err)
	}
	var utf32 []byte
	for _, r := range text {
		utf32 = binary.LittleEndian.AppendUint32(utf32, uint32(r))
	}
	for want, list := range map[string][][]byte{
		"UTF-16LE": {utf16Of(text, binary.LittleEndian), utf16Of("\ufeff"+text, binary.LittleEndian)},
		"UTF-16BE": {utf16Of(text, binary.BigEndian), utf16Of("\ufeff"+text, binary.BigEndian)},
		"UTF-32LE": {utf32, append([]byte{0xff, 0xfe, 0, 0}, utf32...)},
		"NUL":      {[]byte("port_secret = \"a\x00b\"\nports = 3\n")},
	} {
		for _, bad := range list {
			_, err := Decode("f.toml", bad)
			var e *EncodingError
			if !errors.As(err, &e) || !strings.Contains(err.Error(), "f.toml: expected UTF-8 text, got ") ||
				!strings.Contains(err.Error(), want) || e.Hint() == "" {
				t.Errorf("%q: %v", bad, err)
			}
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte("\ufeffa = 1\n"))
	f.Add([]byte("a\x00b\x00"))
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := Decode("f", text)
		if err != nil {
			return
		}
		if len(got) != len(text) && len(got) != len(text)-len(mark) {
			t.Fatalf("%q became %q", text, got)
		}
		for _, c := range got {
			if c == 0 {
				t.Fatalf("%q has a NUL", got)
			}
		}
	})
}
