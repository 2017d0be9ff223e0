!> The uniform grid, the state on it, and its boundaries. No physics here.
module grid
   use kinds, only: dp, int64
   implicit none
   private
   public :: mesh_type, state_type, n_ghosts, n_variables
   public :: i_density, i_momentum_x, i_momentum_y, i_energy
   public :: periodic, reflecting, open_boundary
   public :: new_mesh, new_state, fill_ghosts

   !> Zones beyond each side: MUSCL needs two.
   integer, parameter :: n_ghosts = 2
   integer, parameter :: n_variables = 4
   integer, parameter :: i_density = 1, i_momentum_x = 2, i_momentum_y = 3, i_energy = 4
   integer, parameter :: periodic = 1, reflecting = 2, open_boundary = 3

   !> Zone (i, j) has its centre at (x_min + (i - 1/2) dx, y_min + (j - 1/2) dy); i in 1..nx, j in 1..ny.
   type :: mesh_type
      integer :: nx = 0, ny = 0
      real(dp) :: x_min = 0.0_dp, y_min = 0.0_dp
      real(dp) :: dx = 0.0_dp, dy = 0.0_dp
      integer :: boundary_x = periodic, boundary_y = periodic
   contains
      procedure :: x => centre_x
      procedure :: y => centre_y
   end type mesh_type

   !> All that the next time step depends on, and so all that a checkpoint holds.
   type :: state_type
      !> Output step reached: the number of the image that shows this state.
      integer :: step = 0
      !> Time steps of the solver done since the start.
      integer(int64) :: cycle = 0
      real(dp) :: time = 0.0_dp
      !> Conserved variables (1-n_ghosts:nx+n_ghosts, 1-n_ghosts:ny+n_ghosts, n_variables), per area: density, momentum, total
      !> energy.
      real(dp), allocatable :: u(:, :, :)
   end type state_type

contains

   !> Uniform grid of `nx` by `ny` zones over [x_min, x_max] x [y_min, y_max].
   pure function new_mesh(nx, ny, x_min, x_max, y_min, y_max, boundary_x, boundary_y) result(mesh)
      integer, intent(in) :: nx, ny
      real(dp), intent(in) :: x_min, x_max, y_min, y_max
      integer, intent(in) :: boundary_x, boundary_y
      type(mesh_type) :: mesh

      mesh%nx = nx
      mesh%ny = ny
      mesh%x_min = x_min
      mesh%y_min = y_min
      mesh%dx = (x_max - x_min)/real(nx, dp)
      mesh%dy = (y_max - y_min)/real(ny, dp)
      mesh%boundary_x = boundary_x
      mesh%boundary_y = boundary_y
   end function new_mesh

   !> Space for a state on `mesh`, all zero.
   pure function new_state(mesh) result(state)
      type(mesh_type), intent(in) :: mesh
      type(state_type) :: state

      allocate (state%u(1 - n_ghosts:mesh%nx + n_ghosts, 1 - n_ghosts:mesh%ny + n_ghosts, n_variables))
      state%u = 0.0_dp
   end function new_state

   pure real(dp) function centre_x(self, i)
      class(mesh_type), intent(in) :: self
      integer, intent(in) :: i
      centre_x = self%x_min + (real(i, dp) - 0.5_dp)*self%dx
   end function centre_x

   pure real(dp) function centre_y(self, j)
      class(mesh_type), intent(in) :: self
      integer, intent(in) :: j
      centre_y = self%y_min + (real(j, dp) - 0.5_dp)*self%dy
   end function centre_y

   !> Fills the ghost zones of the conserved variables from the zones inside.
   pure subroutine fill_ghosts(mesh, u)
      type(mesh_type), intent(in) :: mesh
      real(dp), intent(inout) :: u(1 - n_ghosts:, 1 - n_ghosts:, :)
      integer :: g, nx, ny

      nx = mesh%nx
      ny = mesh%ny
      do g = 1, n_ghosts
         select case (mesh%boundary_x)
         case (periodic)
            u(1 - g, 1:ny, :) = u(nx + 1 - g, 1:ny, :)
            u(nx + g, 1:ny, :) = u(g, 1:ny, :)
         case (reflecting)
            u(1 - g, 1:ny, :) = u(g, 1:ny, :)
            u(nx + g, 1:ny, :) = u(nx + 1 - g, 1:ny, :)
            u(1 - g, 1:ny, i_momentum_x) = -u(1 - g, 1:ny, i_momentum_x)
            u(nx + g, 1:ny, i_momentum_x) = -u(nx + g, 1:ny, i_momentum_x)
         case default
            u(1 - g, 1:ny, :) = u(1, 1:ny, :)
            u(nx + g, 1:ny, :) = u(nx, 1:ny, :)
         end select
      end do
      ! The rows go second and over the columns' ghosts too, so that the corners are filled.
      do g = 1, n_ghosts
         select case (mesh%boundary_y)
         case (periodic)
            u(:, 1 - g, :) = u(:, ny + 1 - g, :)
            u(:, ny + g, :) = u(:, g, :)
         case (reflecting)
            u(:, 1 - g, :) = u(:, g, :)
            u(:, ny + g, :) = u(:, ny + 1 - g, :)
            u(:, 1 - g, i_momentum_y) = -u(:, 1 - g, i_momentum_y)
            u(:, ny + g, i_momentum_y) = -u(:, ny + g, i_momentum_y)
         case default
            u(:, 1 - g, :) = u(:, 1, :)
            u(:, ny + g, :) = u(:, ny, :)
         end select
      end do
   end subroutine fill_ghosts

end module grid
