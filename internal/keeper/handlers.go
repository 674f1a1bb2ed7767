package keeper

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"

	"github.com/dsvault/dsv"
)

// routes is every route there is; each knows its caller before it does
// anything.
func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET "+pathShare, s.guard(s.getShare))
	mux.Handle("PUT "+pathShare, s.guard(s.putShare))
	mux.Handle("POST "+pathShare, s.guard(s.claimShare))
	mux.Handle("GET "+pathStatus, s.guard(s.getStatus))
	return mux
}

// guard finds out which node calls; no one else comes in.
func (s *Server) guard(next func(http.ResponseWriter, *http.Request, dsv.NodeID)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(headIncarnation, s.incarnation.String())
		w.Header().Set("Cache-Control", "no-store")
		node, err := s.caller(r)
		if err != nil {
			http.Error(w, "not a node", http.StatusForbidden)
			return
		}
		next(w, r, node)
	})
}

func (s *Server) caller(r *http.Request) (dsv.NodeID, error) {
	if s.cfg.TLS == nil {
		return dsv.ParseNodeID(r.Header.Get(headNode))
	}
	if r.TLS == nil {
		return "", errors.New("keeper: no TLS")
	}
	node, err := s.cfg.Caller(r.TLS)
	if err != nil {
		return "", err
	}
	return dsv.ParseNodeID(string(node))
}

func (s *Server) getShare(w http.ResponseWriter, _ *http.Request, node dsv.NodeID) {
	a, err := s.shelf.get(node)
	s.answer(w, a, err)
}

func (s *Server) claimShare(w http.ResponseWriter, r *http.Request, node dsv.NodeID) {
	generation, ok := parseGeneration(r.Header.Get(headGeneration))
	id, okID := parseID(r.Header.Get(headClaim))
	if !ok || !okID || generation == 0 {
		http.Error(w, "bad generation or claim", http.StatusBadRequest)
		return
	}
	a, err := s.shelf.claim(node, generation, id)
	s.answer(w, a, err)
}

// answer writes the share a holds, or 204.
func (s *Server) answer(w http.ResponseWriter, a answer, err error) {
	if err != nil {
		s.refuse(w, err)
		return
	}
	defer a.wipe()
	tell(w, a)
	if !a.held {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.Itoa(len(a.body)))
	_, _ = w.Write(a.body)
}

func (s *Server) putShare(w http.ResponseWriter, r *http.Request, node dsv.NodeID) {
	generation, ok := parseGeneration(r.Header.Get(headGeneration))
	var claim *claimID
	if text := r.Header.Get(headClaim); text != "" {
		id, okID := parseID(text)
		claim, ok = (*claimID)(&id), ok && okID
	}
	if !ok || generation == 0 {
		http.Error(w, "bad generation or claim", http.StatusBadRequest)
		return
	}
	switch {
	case r.ContentLength > MaxShare:
		http.Error(w, "too large", http.StatusRequestEntityTooLarge)
		return
	case r.ContentLength <= 0:
		http.Error(w, "a body of known length is needed", http.StatusLengthRequired)
		return
	}
	body := make([]byte, r.ContentLength)
	defer clear(body)
	if _, err := io.ReadFull(r.Body, body); err != nil {
		http.Error(w, "the body ends early", http.StatusBadRequest)
		return
	}
	stored, err := s.shelf.put(node, generation, claim, body)
	if err != nil {
		s.refuse(w, err)
		return
	}
	tell(w, answer{generation: generation})
	if stored {
		s.log.Info("keeping a share", "node", node, "generation", generation)
		w.WriteHeader(http.StatusCreated)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (s *Server) getStatus(w http.ResponseWriter, _ *http.Request, node dsv.NodeID) {
	a, err := s.shelf.get(node)
	if err != nil {
		s.refuse(w, err)
		return
	}
	defer a.wipe()
	tell(w, a)
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(Status{
		Held: a.held, Generation: a.generation, Claimed: a.claimed,
		Incarnation: s.incarnation.String(), StartedAt: s.started.UTC(), Locked: s.shelf.locked(),
	})
}

func tell(w http.ResponseWriter, a answer) {
	w.Header().Set(headGeneration, strconv.FormatUint(a.generation, 10))
	w.Header().Set(headClaimed, strconv.FormatUint(a.claimed, 10))
}

func (s *Server) refuse(w http.ResponseWriter, err error) {
	switch {
	case errors.Is(err, errConflict):
		http.Error(w, "another share, generation or claim is held", http.StatusConflict)
	case errors.Is(err, errFull):
		http.Error(w, "no room for another node", http.StatusInsufficientStorage)
	case errors.Is(err, errClosed):
		http.Error(w, "closing", http.StatusServiceUnavailable)
	default:
		s.log.Error("a share could not be kept", "err", err)
		http.Error(w, "could not be kept", http.StatusInternalServerError)
	}
}
