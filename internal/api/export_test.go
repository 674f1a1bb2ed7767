package api

import (
	"net/http"
	"testing"

	"github.com/go-chi/chi/v5"
)

// WalkRoutes lists "METHOD pattern" of everything the router serves.
func WalkRoutes(t *testing.T, s *Server) []string {
	t.Helper()
	var list []string
	err := chi.Walk(s.router, func(method, route string, _ http.Handler, _ ...func(http.Handler) http.Handler) error {
		list = append(list, method+" "+route)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}
