package wire

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// gatewayLabel begins the message whose MAC is the key of a gateway. No other label of a
// client's secret begins it, nor does it begin another one.
const gatewayLabel = "sallyport: key of a gateway"

// MaxGatewayName is the maximum length of a gateway's name.
const MaxGatewayName = 64

// GatewayKeySize is the length of a gateway's key.
const GatewayKeySize = 2 * sha256.Size

// CheckGateway returns an error about a text that is no name of a gateway.
func CheckGateway(name string) error {
	if name == "" || len(name) > MaxGatewayName || strings.ContainsFunc(name, notInGateway) {
		return fmt.Errorf("expected the name of a gateway: letters, digits, dots, hyphens and underscores, 1 to %d, got %q", MaxGatewayName, name)
	}
	return nil
}

func notInGateway(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune(".-_", r)
}

// AppendGatewayMessage appends the message whose HMAC-SHA256, under the secret of a client,
// GatewayKeyOf turns into the key of that client for a gateway. The name must be valid.
func AppendGatewayMessage(b []byte, name string) []byte {
	b = append(append(b, gatewayLabel...), byte(len(name)))
	return append(b, name...)
}

// GatewayKeyOf returns the key that a MAC of a gateway's message stands for. It is text, so
// that it can be the secret of a clients file or of a profile.
func GatewayKeyOf(mac [MACSize]byte) []byte {
	return hex.AppendEncode(make([]byte, 0, GatewayKeySize), mac[:])
}

// GatewayKey returns the key that a client with a secret has for a gateway. It takes the
// place of the secret in all that the client sends to that gateway.
func GatewayKey(secret []byte, name string) ([]byte, error) {
	if err := CheckGateway(name); err != nil {
		return nil, err
	}
	mac := hmac.New(sha256.New, secret)
	mac.Write(AppendGatewayMessage(nil, name))
	return GatewayKeyOf([MACSize]byte(mac.Sum(nil))), nil
}
