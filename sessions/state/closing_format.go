package state

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"time"

	"sallyport/sessions/gate/access"
	"sallyport/verify/wire"
)

// closingVersion is the version of the file's format. A later one is a NewerError.
const closingVersion = versionAny

// maxClosingFile is the maximum size of the file in bytes: a command has less than
// 1024.
const maxClosingFile = 1024 + MaxClosing*1024

// closingSum is the length of a line's checksum: 64 bits of SHA-256, in hex.
const closingSum = 16

// closingHeader is the first line of the file. A line for each command follows: a
// checksum, a space, and the command as JSON.
type closingHeader struct {
	Version  int `json:"version"`
	Commands int `json:"commands"`
}

// closingLine is a command in the file.
type closingLine struct {
	ID        string `json:"id"` // in hex
	Service   string `json:"service"`
	Client    string `json:"client,omitempty"`
	Operation string `json:"operation,omitempty"`
	Address   string `json:"address"`
	Peer      string `json:"peer"`
	Zone      string `json:"zone,omitempty"`      // of the peer
	ISN       uint32 `json:"isn,omitempty"`       // of the peer
	PeerPort  uint16 `json:"peer_port,omitempty"` // of the peer
	Port      uint16 `json:"port,omitempty"`
	Since     int64  `json:"since"`           // Unix seconds
	Until     int64  `json:"until,omitempty"` // Unix seconds; 0: when it is closed
}

// encodeClosing returns the content of the file.
func encodeClosing(list []Closing) ([]byte, error) {
	if len(list) > MaxClosing {
		return nil, fmt.Errorf("expected at most %d commands, got %d", MaxClosing, len(list))
	}
	var content bytes.Buffer
	version := versionFor(list, func(c Closing) access.Peer { return c.Peer })
	if err := json.NewEncoder(&content).Encode(closingHeader{version, len(list)}); err != nil {
		return nil, err
	}
	for _, c := range list {
		line, err := json.Marshal(c.line())
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&content, "%s %s\n", closingSumOf(line), line)
	}
	if content.Len() > maxClosingFile {
		return nil, fmt.Errorf("expected at most %d bytes, got %d", maxClosingFile, content.Len())
	}
	return content.Bytes(), nil
}

func closingSumOf(line []byte) string {
	sum := sha256.Sum256(line)
	return hex.EncodeToString(sum[:])[:closingSum]
}

func (c Closing) line() closingLine {
	l := closingLine{
		ID: strconv.FormatUint(c.ID, 16), Service: c.Service, Operation: c.Operation, Address: addressText(c.Address),
		Peer: c.Peer.Prefix.String(), Zone: c.Peer.Zone, ISN: uint32(c.Peer.ISN), PeerPort: c.Peer.Port, Port: c.Port,
		Since: c.Since.Unix(),
	}
	if !c.Until.IsZero() {
		l.Until = c.Until.Unix()
	}
	if c.Client != (wire.Identifier{}) {
		l.Client = string(c.Client[:])
	}
	return l
}

// decodeClosing decodes the content of the file. With an error that is no NewerError,
// it returns the commands whose lines are whole.
func decodeClosing(content []byte) (list []Closing, err error) {
	first, lines, _ := bytes.Cut(content, []byte("\n"))
	var h closingHeader
	if headerErr := json.Unmarshal(first, &h); headerErr != nil || h.Version < 1 {
		err = errors.New("its first line is not a header")
	} else if h.Version > closingVersion {
		return nil, &NewerError{Version: uint32(h.Version), Latest: closingVersion}
	}
	n := 0
	for line := range bytes.Lines(lines) {
		n++
		c, lineErr := decodeClosingLine(line)
		if lineErr == nil && len(list) == MaxClosing {
			lineErr = fmt.Errorf("expected at most %d commands", MaxClosing)
		}
		if lineErr == nil {
			list = append(list, c)
		} else if err == nil {
			err = fmt.Errorf("command %d: %w", n, lineErr)
		}
	}
	if err == nil && len(list) != h.Commands {
		err = fmt.Errorf("it has %d commands, its header %d", len(list), h.Commands)
	}
	return list, err
}

func decodeClosingLine(line []byte) (c Closing, err error) {
	text, whole := bytes.CutSuffix(line, []byte("\n"))
	sum, text, found := bytes.Cut(text, []byte(" "))
	if !whole || !found || string(sum) != closingSumOf(text) {
		return c, errors.New("its checksum is wrong")
	}
	return decodeClosingText(text)
}

func decodeClosingText(text []byte) (c Closing, err error) {
	var l closingLine
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&l); err != nil {
		return c, errors.New("expected a command as JSON")
	}
	prefix, err := netip.ParsePrefix(l.Peer)
	if err != nil {
		return c, errors.New("its peer is not a network")
	}
	id, err := strconv.ParseUint(l.ID, 16, 64)
	if err != nil {
		return c, errors.New("its id is not a number")
	}
	c = Closing{
		ID: id, Service: l.Service, Operation: l.Operation, Port: l.Port, Since: time.Unix(l.Since, 0),
		Peer: access.Peer{Prefix: prefix, Zone: l.Zone, ISN: wire.ISN(l.ISN), Port: l.PeerPort},
	}
	if l.Until != 0 {
		c.Until = time.Unix(l.Until, 0)
	}
	if c.Address, err = parseAddress(l.Address); err != nil {
		return c, err
	}
	bare := access.Peer{Prefix: c.Peer.Prefix, Zone: c.Peer.Zone}
	switch {
	case l.Client != "" && len(l.Client) != len(c.Client):
		return c, errors.New("its client is not an identifier")
	case bare.IsAnyone() || !holds(bare, c.Address):
		return c, errors.New("its peer does not contain its address")
	case l.Service == "":
		return c, errors.New("it names no service")
	}
	copy(c.Client[:], l.Client)
	return c, nil
}
