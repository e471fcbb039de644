package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"io/fs"
	"strconv"
	"strings"
	"testing"
	"time"
)

// rpmHeader has the values of an rpm's header, by tag: strings, or numbers.
type rpmHeader struct {
	texts   map[uint32][]string
	numbers map[uint32][]int64
}

func (h rpmHeader) text(tag uint32) string { return strings.Join(h.texts[tag], " ") }

// tags of an rpm: rpmtag.h.
const (
	rpmSHA256, rpmSignedSize                        = 273, 1000
	rpmSummary, rpmDescription                      = 1004, 1005
	rpmName, rpmVersion, rpmRelease, rpmArch, rpmOS = 1000, 1001, 1002, 1022, 1021
	rpmPostIn, rpmPreUn, rpmPostUn                  = 1024, 1025, 1026
	rpmModes, rpmTimes, rpmDigests, rpmFlags        = 1030, 1034, 1035, 1037
	rpmOwners, rpmGroups, rpmRequires               = 1039, 1040, 1049
	rpmDirIndexes, rpmNames, rpmDirs                = 1116, 1117, 1118
	rpmCompressor, rpmPayloadDigest                 = 1125, 5092
	rpmConfig, rpmNoReplace                         = 1 << 0, 1 << 4
)

// parseRPMHeader returns a header, and the number of its bytes.
func parseRPMHeader(t *testing.T, b []byte) (h rpmHeader, size int) {
	t.Helper()
	if len(b) < 16 || !bytes.HasPrefix(b, []byte{0x8e, 0xad, 0xe8, 1}) {
		t.Fatal("no header")
	}
	h = rpmHeader{map[uint32][]string{}, map[uint32][]int64{}}
	entries, stored := int(binary.BigEndian.Uint32(b[8:])), int(binary.BigEndian.Uint32(b[12:]))
	size = 16 + 16*entries + stored
	store := b[16+16*entries : size]
	for i := range entries {
		e := b[16+16*i:]
		tag, kind := binary.BigEndian.Uint32(e), binary.BigEndian.Uint32(e[4:])
		value, count := store[binary.BigEndian.Uint32(e[8:]):], int(binary.BigEndian.Uint32(e[12:]))
		for range count {
			switch kind {
			case 3:
				h.numbers[tag], value = append(h.numbers[tag], int64(binary.BigEndian.Uint16(value))), value[2:]
			case 4:
				h.numbers[tag], value = append(h.numbers[tag], int64(binary.BigEndian.Uint32(value))), value[4:]
			case 6, 8, 9:
				text, rest, _ := bytes.Cut(value, []byte{0})
				h.texts[tag], value = append(h.texts[tag], string(text)), rest
			}
		}
	}
	return h, size
}

func (r release) rpmHeader(t *testing.T, name string) (h rpmHeader, payload []byte) {
	t.Helper()
	text := []byte(r.read(t, name))
	signature, size := parseRPMHeader(t, text[96:])
	rest := text[96+(size+7)/8*8:]
	h, size = parseRPMHeader(t, rest)
	hash := sha256.Sum256(rest[:size])
	if signature.text(rpmSHA256) != hex.EncodeToString(hash[:]) || signature.numbers[rpmSignedSize][0] != int64(len(rest)) {
		t.Errorf("%s: got the hash %s of %d bytes, want %x of %d", name, signature.text(rpmSHA256), signature.numbers[rpmSignedSize], hash, len(rest))
	}
	payload = rest[size:]
	hash = sha256.Sum256(payload)
	if h.text(rpmPayloadDigest) != hex.EncodeToString(hash[:]) || h.text(rpmCompressor) != "gzip" {
		t.Errorf("%s: got the hash %s of the files, want %x", name, h.text(rpmPayloadDigest), hash)
	}
	return h, payload
}

func (r release) openRPM(t *testing.T, name string) content {
	t.Helper()
	h, payload := r.rpmHeader(t, name)
	c := content{files: map[string]file{}, scripts: map[string]string{}, control: h.text(rpmRequires)}
	for tag, script := range map[uint32]string{rpmPostIn: "postin", rpmPreUn: "preun", rpmPostUn: "postun"} {
		if text := h.text(tag); text != "" {
			c.scripts[script] = text
		}
	}
	texts := uncpio(t, gunzip(t, payload))
	for i, base := range h.texts[rpmNames] {
		path := h.texts[rpmDirs][h.numbers[rpmDirIndexes][i]] + base
		mode := fs.FileMode(h.numbers[rpmModes][i] & 0o7777)
		if h.numbers[rpmModes][i]&0o170000 == 0o040000 {
			mode |= fs.ModeDir
		}
		flags := h.numbers[rpmFlags][i]
		text, there := texts[path]
		hash := sha256.Sum256(text)
		if !there || !mode.IsDir() && h.texts[rpmDigests][i] != hex.EncodeToString(hash[:]) {
			t.Errorf("%s: %s is missing, or has another hash", name, path)
		}
		c.files[path] = file{
			mode: mode, owner: h.texts[rpmOwners][i], group: h.texts[rpmGroups][i], text: text,
			time: time.Unix(h.numbers[rpmTimes][i], 0).UTC(), config: flags&rpmConfig != 0 && flags&rpmNoReplace != 0,
		}
	}
	if len(texts) != len(c.files) {
		t.Errorf("%s: the header has %d files, the archive %d", name, len(c.files), len(texts))
	}
	return c
}

// uncpio reads an archive in the form "newc".
func uncpio(t *testing.T, b []byte) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	number := func(field int) int {
		n, err := strconv.ParseUint(string(b[6+8*field:14+8*field]), 16, 32)
		if err != nil {
			t.Fatal(err)
		}
		return int(n)
	}
	for {
		if !bytes.HasPrefix(b, []byte("07070")) {
			t.Fatal("no cpio archive")
		}
		size, nameSize := number(6), number(11)
		name, body := string(b[110:110+nameSize-1]), (110+nameSize+3)/4*4
		if name == "TRAILER!!!" {
			return files
		}
		files["/"+strings.TrimPrefix(strings.TrimPrefix(name, "."), "/")] = b[body : body+size]
		b = b[(body+size+3)/4*4:]
	}
}

// TestRPM: the name of the file is that of the package, and rpm requires no more than a shell.
func TestRPM(t *testing.T) {
	r := made
	for _, name := range r.packageNames(t) {
		if !strings.HasSuffix(name, ".rpm") {
			continue
		}
		h, _ := r.rpmHeader(t, name)
		got := h.text(rpmName) + "-" + h.text(rpmVersion) + "-" + h.text(rpmRelease) + "." + h.text(rpmArch) + ".rpm"
		if got != name || h.text(rpmOS) != "linux" {
			t.Errorf("%s is the package %s for %s", name, got, h.text(rpmOS))
		}
		summary, description := h.text(rpmSummary), h.text(rpmDescription)
		if len(summary) < 10 || len(description) < 10 || strings.Contains(description, summary) {
			t.Errorf("%s: got the summary %q, and the description %q", name, summary, description)
		}
		for _, required := range h.texts[rpmRequires] {
			if required != "/bin/sh" && !strings.HasPrefix(required, "rpmlib(") {
				t.Errorf("%s requires %s", name, required)
			}
		}
	}
}
