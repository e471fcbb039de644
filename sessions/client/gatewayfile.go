package client

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"sallyport/verify/wire"
)

// GatewayFile is the file in which a device remembers which gateway of a profile has
// answered last. Nothing depends on it: the client ignores lines of another form. Each
// line has the gateways of a profile (see NewGatewayFile) and the name of one; the latest
// comes first.
//
//	sallyport-gateways 1
//	8d6a1c0f5b3e7a92 gw2
type GatewayFile struct {
	path, of string
}

const (
	gatewaysHeader = "sallyport-gateways 1"
	// maxGatewayLines is how many lines the file has at most, after the first.
	maxGatewayLines = 32
	maxGatewayFile  = (maxGatewayLines + 1) * (wire.MaxGatewayName + 32)
)

// NewGatewayFile returns the part of a file that is for the gateways of a profile. An
// empty path: there is no file.
func NewGatewayFile(path string, p Profile) GatewayFile {
	text := p.Identifier.String()
	if p.Challenge != nil && p.Challenge.Operation != nil {
		text += "\n" + p.Challenge.Operation.ID()
	}
	for _, g := range p.Gateways {
		text += "\n" + g.Name + " " + g.Server
	}
	sum := sha256.Sum256([]byte(text))
	return GatewayFile{path, hex.EncodeToString(sum[:8])}
}

// gatewayLine is a line of the file.
type gatewayLine struct{ of, name string }

// remembered returns the gateway that has answered last; empty: none is known.
func (f GatewayFile) remembered() string {
	if f.path == "" {
		return ""
	}
	text, _ := readMemory(f.path, maxGatewayFile)
	for _, l := range parseGateways(text) {
		if l.of == f.of {
			return l.name
		}
	}
	return ""
}

// remember records that a gateway has answered. If it cannot, the client goes on without:
// the next knock may only take longer.
func (f GatewayFile) remember(name string) {
	if f.path == "" || f.remembered() == name {
		return
	}
	changeMemory(f.path, maxGatewayFile, func(text string) []byte {
		after := gatewaysHeader + "\n" + f.of + " " + name + "\n"
		lines := 1
		for _, l := range parseGateways(text) {
			if l.of != f.of && lines < maxGatewayLines {
				after += l.of + " " + l.name + "\n"
				lines++
			}
		}
		return []byte(after)
	})
}

// parseGateways returns the valid lines of the file.
func parseGateways(text string) (all []gatewayLine) {
	header, rest, _ := strings.Cut(text, "\n")
	if header != gatewaysHeader {
		return nil
	}
	for line := range strings.Lines(rest) {
		line, ended := strings.CutSuffix(line, "\n")
		of, name, _ := strings.Cut(line, " ")
		digest, err := hex.DecodeString(of)
		if !ended || err != nil || len(digest) != 8 || wire.CheckGateway(name) != nil {
			continue
		}
		if all = append(all, gatewayLine{of, name}); len(all) == maxGatewayLines {
			break
		}
	}
	return all
}
