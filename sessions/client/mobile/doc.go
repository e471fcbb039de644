// Package mobile is the client for apps on Android and iOS. Its API has only types that
// gomobile binds to Java, Kotlin, Objective-C and Swift; a test keeps it so.
//
//	NewProfile     the text of a profile, for example from a QR code
//	NewKnocker     a directory of the app's own for the nonces
//	  Knock        opens the service once
//	    -> client.Knock, client.Exchange
//	  Stay         keeps it open
//	    -> stay.Run
//	    <- NetworkChanged
//	  Both block, so call them in a background thread.
//	    -> Listener.OnStep   for each step, in any thread
//	    <- Cancel            from any thread
//	  -> Result    whether the service is open, and if not, why
//
// To bind it, run in a checkout of this repository:
//
//	gomobile bind -target android -o sallyport.aar sallyport/sessions/client/mobile
//
// In Kotlin:
//
//	val knocker = Knocker(Profile(text), File(context.noBackupFilesDir, "sallyport").path)
//	knocker.setListener { step -> Log.i("sallyport", step.text()) }
//	val result = knocker.knock()
//	if (result.opened()) connect(result.host(), result.port().toInt()) else show(result.text(), result.hints())
//
// # The directory of the state
//
// The directory holds the record of the used nonces. It must outlast restarts, it must
// not be in a backup that returns to this or to another device, and no other device may
// have the same profile: the server accepts no nonce twice. On Android, that is
// Context.getNoBackupFilesDir; on iOS, a directory in Application Support with
// isExcludedFromBackup.
//
// # The profile
//
// The text has secrets. The app stores it, for example encrypted by a key of the
// system's keystore, and gives it to NewProfile each time. No method returns a secret.
package mobile
