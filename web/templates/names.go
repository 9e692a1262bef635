package templates

// The addresses the forms post to and the links lead to. Handlers register these.
const (
	PathLogin       = "/login"
	PathPassword    = "/login/password"
	PathConfirm     = "/login/confirm"
	PathSendAgain   = "/login/confirm/again"
	PathSignOut     = "/logout"
	PathSetup       = "/setup"
	PathMe          = "/me"
	PathEndSession  = "/me/sessions/end"
	PathEndSessions = "/me/sessions/end-others"
	PathCreateKey   = "/me/keys/create"
	PathRevokeKey   = "/me/keys/revoke"
	PathConfirmKey  = "/me/keys/confirm"
)

// The names of form fields; a Problem names the field it belongs to by one of them.
const (
	FieldFlow     = "flow"
	FieldCSRF     = "csrf"
	FieldUsername = "username"
	FieldPassword = "password"
	FieldName     = "name"
	FieldEmail    = "email"
	FieldCode     = "code"
	FieldSession  = "session"
	FieldKey      = "key"
	// FieldRole is repeated, once for each role ticked.
	FieldRole = "role"
	// FieldDays is a whole number of days.
	FieldDays = "days"
	// FieldReturn carries SignOut.Return back.
	FieldReturn = "return"
	// FieldApplication is the application a new API key is for.
	FieldApplication = "application"
	// FieldProvider is the provider whose button was pressed.
	FieldProvider = "provider"
	// FieldRemember is there when somebody wants to stay signed in on this device.
	FieldRemember = "remember"
	// FieldVerification is the id of what a code confirms.
	FieldVerification = "verification"
)

// names hands the constants to the templates, so that there is one spelling of each.
type names struct {
	Login, Password, SignOut, Setup, Me, EndSession, EndSessions, CreateKey, RevokeKey string
	Confirm, SendAgain, ConfirmKey                                                     string

	Flow, CSRF, Username, Secret, Name, Email, Code, Session, Key, Role, Days, Return, Application string
	Provider, Remember, Verification                                                               string
}

func formNames() names {
	return names{
		Login: PathLogin, Password: PathPassword, SignOut: PathSignOut, Setup: PathSetup, Me: PathMe,
		EndSession: PathEndSession, EndSessions: PathEndSessions, CreateKey: PathCreateKey, RevokeKey: PathRevokeKey,
		Confirm: PathConfirm, SendAgain: PathSendAgain, ConfirmKey: PathConfirmKey,
		Flow: FieldFlow, CSRF: FieldCSRF, Username: FieldUsername, Secret: FieldPassword, Name: FieldName,
		Email: FieldEmail, Code: FieldCode, Session: FieldSession, Key: FieldKey, Role: FieldRole, Days: FieldDays,
		Return: FieldReturn, Application: FieldApplication, Provider: FieldProvider, Remember: FieldRemember, Verification: FieldVerification,
	}
}
