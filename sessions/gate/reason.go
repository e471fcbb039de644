package gate

// EndReason is why a lease has ended, for the log.
type EndReason string

// The reasons.
const (
	ByAdministrator EndReason = "closed by the administrator"
	NotAllowedNow   EndReason = "the configuration no longer grants it"
	Stopped         EndReason = "server stops"
	Requested       EndReason = "requested by the client"
	Revoked         EndReason = "revoked"
	ClientExpired   EndReason = "the client has expired"

	expired    EndReason = "expired"
	displaced  EndReason = "displaced by a newer lease of the client"
	holderLost EndReason = "holder lost"
	unrenewed  EndReason = "not renewed"
	openFailed EndReason = "failed to open"
	used       EndReason = "its connection has ended"
)

// reasonCodes are the reasons for programs.
var reasonCodes = map[EndReason]string{
	ByAdministrator: "administrator",
	NotAllowedNow:   "not-allowed",
	expired:         "expired",
	Requested:       "requested",
	Revoked:         "revoked",
	ClientExpired:   "client-expired",
	displaced:       "displaced",
	holderLost:      "holder-lost",
	unrenewed:       "not-renewed",
	Stopped:         "stopped",
	openFailed:      "open-failed",
	used:            "used",
}

// Code returns the reason as one word, for programs.
func (r EndReason) Code() string { return reasonCodes[r] }
