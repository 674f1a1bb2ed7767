package api

import (
	"context"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/coordinator"
)

// Vault is what the API asks of the coordinator. Every method but Authenticate
// judges the session again by itself, ends by the context's deadline, and
// returns *dsv.Error where a caller can do something about it.
//
// Values handed over belong to the vault; values it returns (Found.Value,
// TokenInfo.Secret) belong to the API, which wipes them.
type Vault interface {
	Authenticate(ctx context.Context, proof dsv.Secret) (*coordinator.Session, error)

	Create(ctx context.Context, s *coordinator.Session, w coordinator.Write) (coordinator.Written, error)
	Update(ctx context.Context, s *coordinator.Session, w coordinator.Write) (coordinator.Written, error)
	Put(ctx context.Context, s *coordinator.Session, w coordinator.Write) (coordinator.Written, error)
	Delete(ctx context.Context, s *coordinator.Session, ch coordinator.Change) (coordinator.Written, error)
	Undelete(ctx context.Context, s *coordinator.Session, ch coordinator.Change) (coordinator.Written, error)
	Destroy(ctx context.Context, s *coordinator.Session, d coordinator.Destroy) (coordinator.Written, error)
	Batch(ctx context.Context, s *coordinator.Session, b coordinator.Batch) (coordinator.BatchResult, error)

	Get(ctx context.Context, s *coordinator.Session, r coordinator.Read) (coordinator.Found, error)
	Head(ctx context.Context, s *coordinator.Session, r coordinator.Read) (coordinator.Found, error)
	History(ctx context.Context, s *coordinator.Session, r coordinator.Read) ([]coordinator.Version, dsv.Position, error)
	List(ctx context.Context, s *coordinator.Session, l coordinator.ListRequest) (coordinator.Names, error)
	Shards(ctx context.Context, s *coordinator.Session, p dsv.Path) ([]coordinator.ShardStatus, error)
	Operation(ctx context.Context, s *coordinator.Session, id dsv.TxID) (coordinator.Outcome, error)
	Status(ctx context.Context, s *coordinator.Session) (coordinator.Status, error)

	CreateToken(ctx context.Context, s *coordinator.Session, r coordinator.TokenRequest) (coordinator.TokenInfo, error)
	ListTokens(ctx context.Context, s *coordinator.Session) ([]coordinator.TokenInfo, error)
	RevokeToken(ctx context.Context, s *coordinator.Session, id string) error
}
