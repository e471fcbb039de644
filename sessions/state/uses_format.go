package state

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"sallyport/sessions/durable"
)

// usesVersion is the version of the file's format. A later one is a NewerError.
const usesVersion = 1

// maxUsesFile is the maximum size of the file in bytes: a count has less than 256.
const maxUsesFile = 1024 + MaxUses*256

// usesHeader is the first line of the file. A line for each count follows.
type usesHeader struct {
	Version int `json:"version"`
	// The identity of the file: another file with this content is a copy.
	Inode  uint64 `json:"inode"`
	Born   int64  `json:"born,omitempty"`
	Counts int    `json:"counts"`
	SHA256 string `json:"sha256"` // of all following lines
}

// useLine is a count in the file.
type useLine struct {
	Operation string `json:"operation"`
	Secret    string `json:"secret"` // its fingerprint
	Used      uint32 `json:"used"`
	Unknown   bool   `json:"unknown,omitempty"`
}

// encodeUses returns the content of the file with an identity.
func encodeUses(list []Use, id durable.Identity) ([]byte, error) {
	if len(list) > MaxUses {
		return nil, fmt.Errorf("expected at most %d counts, got %d", MaxUses, len(list))
	}
	var lines bytes.Buffer
	e := json.NewEncoder(&lines)
	for _, u := range list {
		line := useLine{u.Operation, fmt.Sprintf("%016x", uint64(u.Secret)), u.Used, u.Unknown}
		if err := e.Encode(line); err != nil {
			return nil, err
		}
	}
	sum := sha256.Sum256(lines.Bytes())
	var content bytes.Buffer
	h := usesHeader{usesVersion, id.Inode, id.Born, len(list), hex.EncodeToString(sum[:])}
	err := json.NewEncoder(&content).Encode(h)
	if err != nil {
		return nil, err
	}
	content.Write(lines.Bytes())
	if content.Len() > maxUsesFile {
		return nil, fmt.Errorf("expected at most %d bytes, got %d", maxUsesFile, content.Len())
	}
	return content.Bytes(), nil
}

// decodeUses decodes the content of the file. Its checksum finds damage; no part of a
// damaged file is used.
func decodeUses(content []byte) (list []Use, id durable.Identity, err error) {
	first, lines, found := bytes.Cut(content, []byte("\n"))
	var h usesHeader
	if err := json.Unmarshal(first, &h); err != nil || !found {
		return nil, id, errors.New("its first line is not a header")
	}
	if h.Version > usesVersion {
		return nil, id, &NewerError{Version: uint32(h.Version), Latest: usesVersion}
	}
	sum := sha256.Sum256(lines)
	if hex.EncodeToString(sum[:]) != h.SHA256 || h.Version != usesVersion {
		return nil, id, errors.New("its checksum or its version is wrong")
	}
	has := map[UseKey]bool{}
	for line := range bytes.Lines(lines) {
		u, err := decodeUse(line)
		if err == nil && has[u.UseKey] {
			err = errors.New("it is there twice")
		}
		if err != nil {
			return nil, id, fmt.Errorf("count %d: %w", len(list)+1, err)
		}
		has[u.UseKey] = true
		list = append(list, u)
	}
	if len(list) != h.Counts || len(list) > MaxUses {
		return nil, id, fmt.Errorf("it has %d counts, its header %d; at most %d are allowed", len(list), h.Counts, MaxUses)
	}
	return list, durable.Identity{Inode: h.Inode, Born: h.Born}, nil
}

func decodeUse(line []byte) (u Use, err error) {
	var l useLine
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(&l); err != nil {
		return u, errors.New("expected a count as JSON")
	}
	secret, ok := parseFingerprint(l.Secret)
	if l.Operation == "" || !ok {
		return u, errors.New("it names no operation, or has no fingerprint of a secret")
	}
	return Use{UseKey{l.Operation, secret}, l.Used, l.Unknown}, nil
}
