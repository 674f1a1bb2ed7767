package api

import (
	"net/http"

	"github.com/dsvault/dsv/internal/auth"
)

// table is every route with its guard.
func (s *Server) table() []Route {
	const (
		get, head, post, put, del = http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete

		space  = "/v1/ns/{ns}"
		secret = space + "/secrets/{key}"
	)
	return []Route{
		{Method: get, Pattern: "/livez", Guard: Public, handle: (*call).livez},
		{Method: get, Pattern: "/readyz", Guard: Public, handle: (*call).readyz},
		{Method: get, Pattern: "/metrics", Guard: Public, handle: (*call).showMetrics},
		{Method: get, Pattern: "/v1/openapi.json", Guard: Public, handle: (*call).document},

		{Method: get, Pattern: "/v1/cluster", Guard: Known, handle: (*call).cluster},
		{Method: get, Pattern: "/v1/operations/{id}", Guard: Known, handle: (*call).operation},

		{Method: post, Pattern: "/v1/tokens", Guard: Admin, Write: true, handle: (*call).createToken},
		{Method: get, Pattern: "/v1/tokens", Guard: Admin, handle: (*call).listTokens},
		{Method: del, Pattern: "/v1/tokens/{id}", Guard: Admin, Write: true, handle: (*call).revokeToken},

		{Method: get, Pattern: space + "/secrets", Guard: Namespace, Verbs: auth.List, handle: (*call).list},
		{Method: post, Pattern: space + "/batch", Guard: Namespace, Verbs: secretVerbs, Write: true, handle: (*call).batch},

		{Method: post, Pattern: secret, Guard: Secret, Verbs: auth.Create, Write: true, handle: (*call).create},
		{Method: put, Pattern: secret, Guard: Secret, Verbs: auth.Update, verbs: putVerbs, Write: true, handle: (*call).put},
		{Method: get, Pattern: secret, Guard: Secret, Verbs: auth.Read, handle: (*call).get},
		{Method: head, Pattern: secret, Guard: Secret, Verbs: auth.Read, handle: (*call).head},
		{Method: del, Pattern: secret, Guard: Secret, Verbs: auth.Delete, Write: true, handle: (*call).remove},
		{Method: get, Pattern: secret + "/versions", Guard: Secret, Verbs: auth.History, handle: (*call).history},
		{Method: get, Pattern: secret + "/shards", Guard: Secret, Verbs: auth.History, handle: (*call).shards},
		{Method: post, Pattern: secret + "/undelete", Guard: Secret, Verbs: auth.Undelete, Write: true, handle: (*call).undelete},
		{Method: post, Pattern: secret + "/destroy", Guard: Secret, Verbs: auth.Destroy, Write: true, handle: (*call).destroy},
	}
}

// secretVerbs are the verbs a batch may need: any of them lets a caller in,
// each operation asks for its own.
const secretVerbs = auth.Create | auth.Update | auth.Read | auth.Delete | auth.Undelete | auth.Destroy
