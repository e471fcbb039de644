package state

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"sallyport/sessions/durable"
	"sallyport/sessions/gate/access"
	"sallyport/verify"
	"sallyport/verify/wire"
)

// KeptFileName is the name of the file with the leases that last until they are
// closed. They are not in the file of nonces, because the two files fail in opposite
// directions: a reset must keep each nonce that is readable, and must not keep a lease
// that may have ended. If the end of a lease cannot be written, the whole file can be
// removed, which needs no space on the disk.
const KeptFileName = "open-leases"

// MaxKept is the maximum number of leases in the file.
const MaxKept = 4096

// keptVersion is the version of the file's format. A later one is a NewerError.
const keptVersion = 1

// maxKeptFile is the maximum size of the file in bytes: a lease has less than 512.
const maxKeptFile = 1024 + MaxKept*512

// Kept is a lease that lasts until it is closed, with the data that decide whether a
// server may open it again when it starts.
type Kept struct {
	Service   string
	Operation string          // its ID
	Client    wire.Identifier // zero: the operation belongs to no client
	Peer      access.Peer     // that the lease admits
	Address   netip.Addr      // that has requested it
	Anyone    bool            // the service was open to anyone
	Since     time.Time       // by the wall clock; whole seconds are kept
	// Fingerprints of the secrets of the operation and of the client.
	Secret, ClientSecret verify.Fingerprint
}

// keptHeader is the first line of the file. A line for each lease follows.
type keptHeader struct {
	Version int    `json:"version"`
	Leases  int    `json:"leases"`
	SHA256  string `json:"sha256"` // of all following lines
}

// keptLine is a lease in the file.
type keptLine struct {
	Service      string `json:"service"`
	Operation    string `json:"operation"`
	Client       string `json:"client,omitempty"`
	Peer         string `json:"peer"`
	Zone         string `json:"zone,omitempty"` // of the peer
	Address      string `json:"address"`
	Anyone       bool   `json:"anyone,omitempty"`
	Since        int64  `json:"since"` // Unix seconds
	Secret       string `json:"secret"`
	ClientSecret string `json:"client_secret,omitempty"`
}

// encodeKept returns the content of the file.
func encodeKept(list []Kept) ([]byte, error) {
	if len(list) > MaxKept {
		return nil, fmt.Errorf("expected at most %d leases, got %d", MaxKept, len(list))
	}
	var lines bytes.Buffer
	e := json.NewEncoder(&lines)
	for _, k := range list {
		if err := e.Encode(k.line()); err != nil {
			return nil, err
		}
	}
	sum := sha256.Sum256(lines.Bytes())
	var content bytes.Buffer
	err := json.NewEncoder(&content).Encode(keptHeader{keptVersion, len(list), hex.EncodeToString(sum[:])})
	if err != nil {
		return nil, err
	}
	content.Write(lines.Bytes())
	if content.Len() > maxKeptFile {
		return nil, fmt.Errorf("expected at most %d bytes, got %d", maxKeptFile, content.Len())
	}
	return content.Bytes(), nil
}

func (k Kept) line() keptLine {
	l := keptLine{
		Service: k.Service, Operation: k.Operation, Peer: k.Peer.Prefix.String(), Zone: k.Peer.Zone,
		Address: k.Address.String(), Anyone: k.Anyone, Since: k.Since.Unix(), Secret: fmt.Sprintf("%016x", uint64(k.Secret)),
	}
	if k.Client != (wire.Identifier{}) {
		l.Client, l.ClientSecret = string(k.Client[:]), fmt.Sprintf("%016x", uint64(k.ClientSecret))
	}
	return l
}

// decodeKept decodes the content of the file. Its checksum finds damage; no part of
// a damaged file is used.
func decodeKept(content []byte) ([]Kept, error) {
	first, lines, found := bytes.Cut(content, []byte("\n"))
	var h keptHeader
	if err := json.Unmarshal(first, &h); err != nil || !found {
		return nil, errors.New("its first line is not a header")
	}
	if h.Version > keptVersion {
		return nil, &NewerError{Version: uint32(h.Version), Latest: keptVersion}
	}
	if sum := sha256.Sum256(lines); hex.EncodeToString(sum[:]) != h.SHA256 || h.Version != keptVersion {
		return nil, errors.New("its checksum or its version is wrong")
	}
	var list []Kept
	for line := range bytes.Lines(lines) {
		k, err := decodeKeptLine(line)
		if err != nil {
			return nil, fmt.Errorf("lease %d: %w", len(list)+1, err)
		}
		list = append(list, k)
	}
	if len(list) != h.Leases || len(list) > MaxKept {
		return nil, fmt.Errorf("it has %d leases, its header %d; at most %d are allowed", len(list), h.Leases, MaxKept)
	}
	return list, nil
}

func decodeKeptLine(line []byte) (k Kept, err error) {
	var l keptLine
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(&l); err != nil {
		return k, errors.New("expected a lease as JSON")
	}
	prefix, err := netip.ParsePrefix(l.Peer)
	if err != nil {
		return k, errors.New("its peer is not a network")
	}
	k = Kept{
		Service: l.Service, Operation: l.Operation, Peer: access.Peer{Prefix: prefix, Zone: l.Zone},
		Anyone: l.Anyone, Since: time.Unix(l.Since, 0),
	}
	if k.Address, err = netip.ParseAddr(l.Address); err != nil {
		return k, errors.New("its address is not an address")
	}
	switch {
	case l.Client != "" && len(l.Client) != len(k.Client):
		return k, errors.New("its client is not an identifier")
	case !k.Peer.IsValid() || k.Peer.IsAnyone() || k.Peer != access.PeerOf(k.Address, prefixLen(k.Peer)):
		return k, errors.New("its peer does not contain its address")
	case l.Service == "" || l.Operation == "":
		return k, errors.New("it names no service or no operation")
	}
	copy(k.Client[:], l.Client)
	secret, ok := parseFingerprint(l.Secret)
	clientSecret, ok2 := parseFingerprint(l.ClientSecret)
	if !ok || (l.Client != "") != ok2 || l.Client == "" && l.ClientSecret != "" {
		return k, errors.New("it has no fingerprint of a secret")
	}
	k.Secret, k.ClientSecret = secret, clientSecret
	return k, nil
}

// prefixLen returns the length for access.PeerOf.
func prefixLen(p access.Peer) int {
	if p.Prefix.Addr().Is6() && p.Prefix.Bits() == access.PrefixNetwork {
		return access.PrefixNetwork
	}
	return access.PrefixHost
}

func parseFingerprint(text string) (verify.Fingerprint, bool) {
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != 8 {
		return 0, false
	}
	var n uint64
	for _, x := range b {
		n = n<<8 | uint64(x)
	}
	return verify.Fingerprint(n), n != 0
}

// ReadKept reads the leases that last until they are closed. No file means that
// there are none. A file that is not whole is a DamagedError, one of a later release
// a NewerError. A server may write the file meanwhile.
func ReadKept(dir string) ([]Kept, error) {
	path := filepath.Join(dir, KeptFileName)
	content, err := readBounded(path, maxKeptFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var list []Kept
	if err == nil {
		list, err = decodeKept(content)
	}
	var newer *NewerError
	switch {
	case err == nil:
		return list, nil
	case errors.As(err, &newer):
		newer.Path = path
		return nil, &keptError{newer}
	}
	return nil, &keptError{&DamagedError{path, err}}
}

// keptError is an error of the file of leases, whose remedies are not those of the
// nonces' file.
type keptError struct{ err error }

func (e *keptError) Error() string { return e.err.Error() }
func (e *keptError) Unwrap() error { return e.err }

// Hint returns a remedy.
func (e *keptError) Hint() string {
	return "its leases stay closed; to remove the file: sallyportd lease close --all"
}

// WriteKept replaces the leases of the file, or removes the file if there are none.
// When it returns nil, they are on stable storage. The caller must have the lock of
// the directory. After an error, the file has the old leases, or the new ones, and
// a power failure may change which.
func WriteKept(dir string, list []Kept) error {
	if len(list) == 0 {
		return DropKept(dir)
	}
	content, err := encodeKept(list)
	if err != nil {
		return err
	}
	return durable.WriteFile(filepath.Join(dir, KeptFileName), content, 0o600)
}

// DropKept removes the file: no lease is opened again. It requires no space on the
// disk. When it returns nil, the file is gone on stable storage.
func DropKept(dir string) error {
	if err := durable.Remove(filepath.Join(dir, KeptFileName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return durable.AsOwner(filepath.Join(dir, KeptFileName), func(path string) error {
		return durable.SyncDirectory(filepath.Dir(path))
	})
}

// SetKeptAside renames the file, which is damaged or of another release, so that it
// is not used again. It returns the new path.
func SetKeptAside(dir string, now time.Time) (aside string, err error) {
	path := filepath.Join(dir, KeptFileName)
	aside = path + now.UTC().Format(".20060102T150405.000Z")
	return aside, durable.AsOwner(path, func(located string) error {
		return durable.Rename(located, filepath.Join(filepath.Dir(located), filepath.Base(aside)))
	})
}

// EditKept changes the leases of the file while no server runs: f gets the recorded
// ones, and returns those that stay. A file that cannot be read is an error or, with
// remove, it is removed. If a process has the lock of the directory, the error is a
// LockedError.
func EditKept(ctx context.Context, dir string, remove bool, f func([]Kept) []Kept) error {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil // no server has ever run
	}
	lock, err := takeLock(ctx, dir, lockWait)
	if err != nil {
		return err
	}
	defer lock.Close()
	before, err := ReadKept(dir)
	switch {
	case err != nil && remove:
		return DropKept(dir)
	case err != nil:
		return err
	}
	after := f(slices.Clone(before))
	if len(after) == len(before) {
		return nil
	}
	return WriteKept(dir, after)
}

// readBounded reads a file of at most so many bytes.
func readBounded(path string, limit int64) ([]byte, error) {
	f, err := durable.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(content)) > limit {
		err = fmt.Errorf("expected at most %d bytes, got more", limit)
	}
	return content, err
}
