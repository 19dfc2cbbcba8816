//! Model folders of every kind, made here with small random networks: what is equal must stay equal, what is wrong must be refused.

mod folders;
mod made;
mod refusals;
