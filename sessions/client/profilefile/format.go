package profilefile

import (
	"github.com/pelletier/go-toml/v2"

	"sallyport/sessions/client"
)

// Format returns the text of a profile, which Parse reads. It contains secrets.
func Format(p client.Profile) ([]byte, error) {
	return toml.Marshal(File{
		Version: Version, Server: p.Server, Addresses: addressTexts(p.Addresses),
		PortSecret: p.PortSecret, Ports: p.Ports, Generator: p.Generator.String(),
		Identifier: p.Identifier.String(), Secret: string(p.Secret), Service: p.Service, Watch: string(p.Watch), Bind: string(p.Bind), ServiceName: p.ServiceName,
		OpenFor: openForText(p.OpenFor), Handshake: string(p.Handshake), Expires: expiryText(p.Expires), Nonce: p.FirstNonce,
		Rotate: fileRotate(p.Rotation), Gateways: fileGateways(p.Gateways), Split: p.Split,
	})
}

// FormatOperation returns the text of an operation's profile, which Parse reads. It
// contains the operation's secret.
func FormatOperation(o Operation) ([]byte, error) {
	return toml.Marshal(File{
		Version: Version, Server: o.Server, Addresses: addressTexts(o.Addresses), Challenge: o.file(),
		Gateways: fileGateways(o.Gateways), Split: len(o.Gateways) > 0,
	})
}
